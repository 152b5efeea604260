import fc from 'fast-check';
import t from 'tap';
import { compilePolicy, PolicySet } from '../../src/policy/compile.ts';
import * as any from './arbitraries.ts';
import { oracleAllows } from './oracle.ts';

const RUNS = { numRuns: 4000 };

t.test('policy engine: agrees with the wording of the API on generated policies and queries', (t) => {
  let denied = 0;
  let allowedByRule = 0;
  const many = fc.property(
    any.policies,
    any.pod,
    fc.array(any.query, { minLength: 1, maxLength: 8 }),
    (policies, pod, queries) => {
      const engine = compilePolicy({ policies, pod });
      for (const query of queries) {
        const decision = engine.evaluate(query);
        if (!decision.allow) denied++;
        else if (decision.isolated) allowedByRule++;
        if (decision.allow !== oracleAllows(policies, pod, query)) return false;
      }
      return true;
    },
  );
  fc.assert(many, RUNS);
  t.ok(denied > 1000, `meets denials (${denied})`);
  t.ok(allowedByRule > 1000, `meets rules that allow (${allowedByRule})`);
  t.end();
});

t.test('policy engine: proving oneself never narrows access', (t) => {
  let widened = 0;
  fc.assert(
    fc.property(any.policies, any.pod, any.query, any.podFacts('proven'), (policies, pod, query, peer) => {
      const engine = compilePolicy({ policies, pod });
      const ask = (facts: typeof peer): boolean => engine.evaluate({ ...query, peer: facts }).allow;
      const proven = ask(peer);
      const known = ask({ ...peer, kind: 'pod' } as typeof peer);
      const bare = ask({ kind: 'address', address: peer.address });
      if (proven && !bare) widened++;
      return (!bare || known) && (!known || proven);
    }),
    RUNS,
  );
  t.ok(widened > 20, `meets peers whom proof helps (${widened})`);
  t.end();
});

t.test('policy engine: a rule that names pods never lets an unproven peer in', (t) => {
  fc.assert(
    fc.property(any.policies, any.pod, any.query, any.podFacts('pod'), (policies, pod, query, peer) => {
      const onlyPods = policies.map((policy) => ({
        ...policy,
        ingress: policy.ingress
          .map((rule) => ({ ...rule, peers: rule.peers?.filter((one) => one.kind === 'pods') ?? [] }))
          .filter((rule) => rule.peers.length > 0),
      }));
      const decision = compilePolicy({ policies: onlyPods, pod }).evaluate({
        ...query,
        direction: 'inbound',
        peer,
      });
      return !decision.isolated || !decision.allow;
    }),
    RUNS,
  );
  t.end();
});

t.test('policy engine: adding a rule to a policy never closes anything', (t) => {
  fc.assert(
    fc.property(any.policies, any.pod, any.query, any.rule, fc.nat(), (policies, pod, query, rule, at) => {
      if (policies.length === 0) return true;
      const index = at % policies.length;
      const more = policies.map((policy, i) =>
        i === index
          ? { ...policy, ingress: [...policy.ingress, rule], egress: [...policy.egress, rule] }
          : policy,
      );
      return (
        !compilePolicy({ policies, pod }).evaluate(query).allow ||
        compilePolicy({ policies: more, pod }).evaluate(query).allow
      );
    }),
    RUNS,
  );
  t.end();
});

t.test('policy engine: a further policy never closes anything for a pod that is isolated already', (t) => {
  fc.assert(
    fc.property(any.policies, any.policy, any.pod, any.query, (policies, further, pod, query) => {
      const before = compilePolicy({ policies, pod }).evaluate(query);
      const after = compilePolicy({ policies: [...policies, further], pod }).evaluate(query);
      return !before.isolated || !before.allow || after.allow;
    }),
    RUNS,
  );
  t.end();
});

t.test('policy engine: the order of policies, rules and peers does not matter for the verdict', (t) => {
  fc.assert(
    fc.property(any.policies, any.pod, any.query, (policies, pod, query) => {
      const turned = policies.toReversed().map((policy) => ({
        ...policy,
        ingress: policy.ingress
          .toReversed()
          .map((rule) => ({ ...rule, peers: rule.peers?.toReversed(), ports: rule.ports?.toReversed() })),
        egress: policy.egress
          .toReversed()
          .map((rule) => ({ ...rule, peers: rule.peers?.toReversed(), ports: rule.ports?.toReversed() })),
      }));
      return (
        compilePolicy({ policies, pod }).evaluate(query).allow ===
        compilePolicy({ policies: turned, pod }).evaluate(query).allow
      );
    }),
    RUNS,
  );
  t.end();
});

t.test('policy engine: a label that no selector names changes nothing', (t) => {
  fc.assert(
    fc.property(any.policies, any.pod, any.query, any.podFacts('proven'), (policies, pod, query, peer) => {
      if (peer.kind === 'address') return false;
      const engine = compilePolicy({ policies, pod });
      const more = { ...peer, labels: { ...peer.labels, unrelated: 'web' } };
      return engine.evaluate({ ...query, peer }).allow === engine.evaluate({ ...query, peer: more }).allow;
    }),
    RUNS,
  );
  t.end();
});

t.test(
  'policy engine: a denial names only policies that isolate, and its nearest miss is one of their rules',
  (t) => {
    fc.assert(
      fc.property(any.policies, any.pod, any.query, (policies, pod, query) => {
        const decision = compilePolicy({ policies, pod }).evaluate(query);
        if (decision.allow) return true;
        const miss = decision.nearestMiss;
        const rules = policies
          .filter((one) => decision.policies.includes(`networkpolicy/${one.namespace}/${one.name}`))
          .flatMap((one) => (query.direction === 'inbound' ? one.ingress : one.egress));
        if (miss === undefined) return rules.length === 0;
        return (
          decision.policies.includes(miss.policy) &&
          miss.rule >= 1 &&
          rules.length >= miss.rule &&
          /^would match if [ -~]+$/.test(miss.text) &&
          miss.text.length < 1000
        );
      }),
      RUNS,
    );
    t.end();
  },
);

t.test('policy set: what is taken over from the previous set answers as if compiled anew', (t) => {
  fc.assert(
    fc.property(any.policies, any.policies, any.pod, any.query, (before, after, pod, query) => {
      const first = new PolicySet(before);
      const mixed = [...before.slice(1), ...after];
      const taken = new PolicySet(mixed, first).forPod(pod).evaluate(query);
      const fresh = new PolicySet(mixed).forPod(pod).evaluate(query);
      return JSON.stringify(taken) === JSON.stringify(fresh);
    }),
    { numRuns: 1000 },
  );
  t.end();
});

t.test('policy engine: an allow names the first rule that allows, in order of policy names', (t) => {
  let later = 0;
  fc.assert(
    fc.property(any.policies, any.pod, any.query, (policies, pod, query) => {
      const decision = compilePolicy({ policies, pod }).evaluate(query);
      if (!decision.allow || !decision.isolated) return true;
      const type = query.direction === 'inbound' ? 'Ingress' : 'Egress';
      const field = query.direction === 'inbound' ? 'ingress' : 'egress';
      for (const policy of policies.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
        if (!policy.policyTypes.includes(type)) continue;
        for (const [index, rule] of policy[field].entries()) {
          const alone = { ...policy, [field]: [rule] };
          // Alone it decides only if it selects the pod: without rules it would have to deny.
          const selects = !oracleAllows([{ ...policy, [field]: [] }], pod, query);
          if (!selects || !oracleAllows([alone], pod, query)) continue;
          if (index > 0) later++;
          const id = `networkpolicy/${policy.namespace}/${policy.name}`;
          return decision.policy === id && decision.rule === index + 1;
        }
      }
      return false;
    }),
    RUNS,
  );
  t.ok(later > 20, `meets rules that are not their policy's first (${later})`);
  t.end();
});
