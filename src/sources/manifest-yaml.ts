import { Composer, CST, type Document, Lexer, type LineCounter, Parser } from 'yaml';

/** Deeper than any object of the API goes; deeper still and the parser's recursion, or its time, runs away. */
const DEEPEST = 100;
const WIDEST_INDENT = 400;
/** The parser looks through all anchors for each alias. */
const MOST_ANCHORS = 1_000;
const MOST_DOCUMENTS = 20_000;

/** What is wrong with a text, at a position in it. */
export class ManifestSyntaxError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(message);
    this.name = 'ManifestSyntaxError';
    this.offset = offset;
  }
}

/**
 * The documents of a text. Nesting is counted on the tokens, before the parser recurses into it: measured, `yaml` 2.9 takes minutes for 100,000
 * nested `? ` and as many seconds for keys that it compares each with each; {@link faultyKey} looks for those that occur twice instead.
 * Throws {@link ManifestSyntaxError} at a bound; faults of syntax stand in the documents.
 */
export function composeBounded(text: string, lines: LineCounter): Document[] {
  const parser = new Parser(lines.addNewLine);
  const composer = new Composer({ prettyErrors: false, uniqueKeys: false, lineCounter: lines });
  const bounds = new Bounds();
  const documents: Document[] = [];
  lines.addNewLine(0);
  const take = (tokens: Iterable<CST.Token>): void => {
    for (const token of tokens) {
      for (const document of composer.next(token)) {
        documents.push(document);
        if (documents.length > MOST_DOCUMENTS)
          throw new ManifestSyntaxError(`more than ${MOST_DOCUMENTS} documents`, 0);
      }
    }
  };
  for (const lexeme of new Lexer().lex(text)) {
    bounds.pass(lexeme);
    take(parser.next(lexeme));
  }
  take(parser.end());
  for (const document of composer.end(false, text.length)) documents.push(document);
  return documents;
}

/** What the lexer puts in between; they stand for nothing in the text. */
const MARKS: ReadonlySet<string> = new Set([CST.DOCUMENT, CST.FLOW_END, CST.SCALAR]);

class Bounds {
  #offset = 0;
  #flow = 0;
  #onLine = 0;
  #anchors = 0;

  pass(lexeme: string): void {
    switch (CST.tokenType(lexeme)) {
      case 'flow-map-start':
      case 'flow-seq-start':
        this.#flow++;
        break;
      case 'flow-map-end':
      case 'flow-seq-end':
        this.#flow--;
        break;
      case 'newline':
        this.#onLine = 0;
        break;
      case 'seq-item-ind':
      case 'explicit-key-ind':
      case 'map-value-ind':
        if (this.#flow === 0) this.#onLine++;
        break;
      case 'space':
        if (lexeme.length > WIDEST_INDENT) this.#fail('indented');
        break;
      case 'anchor':
      case 'alias':
        if (++this.#anchors > MOST_ANCHORS)
          throw new ManifestSyntaxError(`more than ${MOST_ANCHORS} anchors and aliases`, this.#offset);
        break;
      case null:
      case 'byte-order-mark':
      case 'doc-mode':
      case 'flow-error-end':
      case 'comma':
      case 'comment':
      case 'tag':
      case 'directive-line':
      case 'scalar':
      case 'single-quoted-scalar':
      case 'double-quoted-scalar':
      case 'doc-start':
      case 'doc-end':
      case 'block-scalar-header':
    }
    if (this.#flow > DEEPEST || this.#onLine > DEEPEST) this.#fail('nested');
    if (!MARKS.has(lexeme)) this.#offset += lexeme.length;
  }

  #fail(how: string): never {
    throw new ManifestSyntaxError(`${how} too deep for an object of the API`, this.#offset);
  }
}
