/**
 * Loaded into a sidecar before anything else (`node --import`), makes it find nothing again that it ever remembered: no session, no verified token, no path. Every
 * connection is then a first contact. For measuring; nothing is skipped, everything is done each time. What cannot be found is dropped after a while, so that memory is that of
 * a sidecar with a few dozen peers and not with thousands, whose heap a collector would have to look through.
 *
 * A bundle has the cache inside, where nobody reaches it; but it gives every class its name back when it defines it (`keepNames` of esbuild), and
 * that is heard here.
 */
const { defineProperty } = Object;

const MOST = 64;

/** How the cache tells itself from the other classes, minified or not. */
interface CacheClass {
  readonly prototype: {
    readonly size: number;
    get: (key: unknown) => unknown;
    set: (this: CacheClass['prototype'], ...given: unknown[]) => unknown;
    clear(): void;
  };
  unsafeExposeInternals?: unknown;
}

Object.defineProperty = (target, property, descriptor) => {
  const cache = target as unknown as CacheClass;
  if (property === 'name' && typeof cache.unsafeExposeInternals === 'function') {
    const { set } = cache.prototype;
    cache.prototype.get = () => undefined;
    cache.prototype.set = function (...given) {
      if (this.size >= MOST) this.clear();
      return set.apply(this, given);
    };
    Object.defineProperty = defineProperty;
  }
  return defineProperty(target, property, descriptor);
};
