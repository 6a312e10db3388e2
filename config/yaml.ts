// YAML documents that people write: checked against a schema, with the line and column of each mistake, and with
// ${VARIABLES} where the reader allows them.

import {
  Document,
  LineCounter,
  Parser,
  Scalar,
  YAMLMap,
  YAMLSeq,
  isNode,
  isPair,
  isScalar,
  isSeq,
  parseDocument,
  visit,
  type CST,
} from 'yaml';
import { z } from 'zod';
import { ConfigError } from './error.ts';
import { nearest } from './nearest.ts';
import { parseDuration, parseRate, parseSize } from './units.ts';

const MAX_SHOWN = 5;
/** Aliases that one document may resolve: a few lines could ask for gigabytes. */
const MAX_ALIASES = 1000;
/** The parser seeks the anchor of each alias from the beginning of the document: tokens times aliases, at most. */
const MAX_SOUGHT = 10_000_000;
const MAX_BYTES = 4 * 1024 * 1024;
/** Lists and maps within each other. */
const MAX_DEPTH = 100;
/** Letters of a value that a message shows. */
const MAX_LETTERS = 80;
/** A variable up to the end of its name, or to where its default begins. */
const VARIABLE = /^\$\{(\w+)(\}|:-)/;
/** Letters of a variable's name, with what is around it. */
const MAX_NAME = 260;

/** A document that was read, and where its parts stand. */
export interface Written<T> {
  value: T;
  /** `path:line:column` of a field, or of what it would stand in. */
  at: (place: Place) => string;
}

export interface Variables {
  /** What `${NAME}` and `${NAME:-default}` in values stand for; `$${` is a plain `${`. */
  values: Readonly<Record<string, string | undefined>>;
  /** Fields whose values are left as they are: shell commands have variables of their own. */
  except?: readonly string[];
}

/**
 * A document as its schema reads it.
 * @param path what errors call it
 * @throws ConfigError with path:line:column, what was expected and what was got
 */
export function readYaml<T>(text: string, path: string, schema: z.ZodType<T>): T {
  return openYaml(text, path, schema).value;
}

/** As readYaml, for readers that check more than the schema does. @throws ConfigError */
export function openYaml<T>(
  text: string,
  path: string,
  schema: z.ZodType<T>,
  variables?: Variables,
): Written<T> {
  if (text.length > MAX_BYTES)
    throw new ConfigError(`${path}: expected at most ${MAX_BYTES} characters, got ${text.length}`);
  const lines = new LineCounter();
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${line}:${col}`;
  };
  checkTokens(new Parser(lines.addNewLine), text, at);
  // The parser would compare each key with all keys before it, and warn of keys that are lists by itself.
  const document = parseDocument(text, { prettyErrors: false, uniqueKeys: false, logLevel: 'error' });
  const [broken] = document.errors;
  if (broken !== undefined)
    throw new ConfigError(`${at(broken.pos[0])}: this is no YAML: ${broken.message}`, { cause: broken });
  visit(document, { Map: (_key, map) => checkNames(map, at) });
  if (variables !== undefined) fillIn(document, variables, at);
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new ConfigError(`${path}: ${(cause as Error).message}`, { cause });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return { value: parsed.data, at: (place) => at(offsetOf(document, place)) };
  const mistakes = parsed.error.issues.flatMap((issue) => sentences(issue, schema, value));
  const told = mistakes
    .slice(0, MAX_SHOWN)
    .map(({ place, tell }) => `${at(offsetOf(document, place))}: ${tell()}`);
  const more = mistakes.length - told.length;
  throw new ConfigError([...told, ...(more > 0 ? [`and ${more} more`] : [])].join('\n'));
}

/**
 * A look at the tokens before a document is made of them, which takes very long where most of them are wrong, and ends in
 * an overflow where they nest too deep.
 * @throws ConfigError
 */
function checkTokens(parser: Parser, text: string, at: (offset: number) => string): void {
  let [tokens, aliases] = [0, 0];
  for (const top of parser.parse(text)) {
    if (top.type === 'error') throw new ConfigError(`${at(top.offset)}: this is no YAML: ${top.message}`);
    const open: { token: CST.Token; depth: number }[] = [{ token: top, depth: 0 }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { token, depth } = next;
      tokens++;
      if (token.type === 'alias') aliases++;
      if (depth > MAX_DEPTH)
        throw new ConfigError(
          `${at(token.offset)}: expected at most ${MAX_DEPTH} levels of lists and maps, got more`,
        );
      const inner = 'items' in token ? token.items.flatMap(({ key, value }) => [key, value]) : [];
      if (token.type === 'document') inner.push(token.value);
      for (const child of inner) if (child) open.push({ token: child, depth: depth + 1 });
    }
  }
  const most = Math.min(MAX_ALIASES, Math.floor(MAX_SOUGHT / Math.max(1, tokens)));
  if (aliases > most)
    throw new ConfigError(
      `${at(0)}: expected at most ${most} aliases in a document of this size, got ${aliases}`,
    );
}

/** @throws ConfigError where a name stands in a map for the second time */
function checkNames(map: YAMLMap, at: (offset: number) => string): void {
  const names = new Set<unknown>();
  for (const { key } of map.items) {
    if (!isScalar(key)) continue;
    if (names.has(key.value))
      throw new ConfigError(
        `${at(key.range?.[0] ?? 0)}: the field ${shown(key.value)} stands there for the second time`,
      );
    names.add(key.value);
  }
}

/** Replaces variables in values; what stands without quotes may become a number, or true or false. */
function fillIn(
  document: Document,
  { values, except = [] }: Variables,
  at: (offset: number) => string,
): void {
  const missing: string[] = [];
  visit(document, {
    Scalar(key, node, ancestors) {
      const field = ancestors.at(-1);
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${')) return;
      if (isPair(field) && isScalar(field.key) && except.includes(String(field.key.value))) return;
      const filled = filledIn(node.value, (name, otherwise) => {
        // As in a shell, :- also stands in for what is empty.
        const found = otherwise === undefined ? values[name] : values[name] || otherwise;
        if (found === undefined && missing.length < MAX_SHOWN)
          missing.push(
            `${at(node.range?.[0] ?? 0)}: the environment has no ${name}; set it, or write \${${name}:-default}`,
          );
        return found ?? '';
      });
      node.value = node.type === Scalar.PLAIN ? plainValue(filled) : filled;
    },
  });
  if (missing.length > 0) throw new ConfigError(missing.join('\n'));
}

/** The text with what stands for its variables; it is walked once, whatever is in it. */
function filledIn(text: string, valueOf: (name: string, otherwise: string | undefined) => string): string {
  let filled = '';
  let from = 0;
  const last = text.lastIndexOf('}');
  for (let at = text.indexOf('${'); at >= 0; at = text.indexOf('${', from)) {
    const isPlain = text[at - 1] === '$' && at > from;
    const [, name = '', open = ''] =
      isPlain || at > last ? [] : (VARIABLE.exec(text.slice(at, at + MAX_NAME)) ?? []);
    const start = at + 2 + name.length + open.length;
    const end = open === ':-' ? text.indexOf('}', start) : start - 1;
    if (name === '' || end < 0) {
      filled += text.slice(from, isPlain ? at - 1 : at) + '${';
      from = at + 2;
      continue;
    }
    filled += text.slice(from, at) + valueOf(name, open === ':-' ? text.slice(start, end) : undefined);
    from = end + 1;
  }
  return filled + text.slice(from);
}

function plainValue(text: string): string | number | boolean {
  if (/^-?(0|[1-9]\d*)(\.\d+)?$/.test(text)) return Number(text);
  return text === 'true' || text === 'false' ? text === 'true' : text;
}

type Place = readonly PropertyKey[];

interface Mistake {
  place: Place;
  /** What is wrong, in words, which take time to find. */
  tell: () => string;
}

function sentences(issue: z.core.$ZodIssue, schema: z.ZodType, value: unknown): Mistake[] {
  const { path: place } = issue;
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      place: [...place, key],
      tell: () => unknownField(key, fieldsAt(schema, place, value)),
    }));
  if (issue.code === 'invalid_union') {
    if ('discriminator' in issue && issue.discriminator !== undefined) {
      const { discriminator } = issue;
      return [{ place, tell: () => kindSentence(discriminator, schema, place, value) }];
    }
    // Of several forms, the one that fits best says what is wrong.
    const [best] = issue.errors
      .map((errors) => ({ errors, fits: fit(errors) }))
      .toSorted((a, b) => b.fits - a.fits || a.errors.length - b.errors.length);
    if (best !== undefined && best.fits > 0)
      return best.errors.flatMap((inner) =>
        sentences({ ...inner, path: [...place, ...inner.path] }, schema, value),
      );
  }
  return [{ place, tell: () => sentence(issue, valueAt(value, place)) }];
}

function unknownField(key: string, known: readonly string[]): string {
  const meant = nearest(key, known);
  const others = known.length > 0 ? `; there are ${known.join(', ')}` : '';
  return `unknown field ${shown(key)}${meant === undefined ? others : `; did you mean ${meant}?`}`;
}

function sentence(issue: z.core.$ZodIssue, given: unknown): string {
  const name = issue.path.length === 0 ? 'the document' : nameOf(issue.path);
  const got = shown(given);
  if (issue.code === 'invalid_union') {
    const kinds = issue.errors.flatMap((errors) =>
      errors.flatMap((inner) => (inner.code === 'invalid_type' ? [inner.expected] : [])),
    );
    return `${name}: expected ${[...new Set(kinds)].join(' or ')}, got ${got}`;
  }
  if (issue.code === 'invalid_value') {
    const meant = typeof given === 'string' ? nearest(given, issue.values.map(String)) : undefined;
    const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
    return `${name}: expected one of ${issue.values.join(', ')}, got ${got}${hint}`;
  }
  if (issue.code === 'invalid_type') {
    const wanted = issue.expected === 'int' ? 'a whole number' : issue.expected;
    return `${name}: expected ${wanted}, got ${got}`;
  }
  if (issue.code === 'too_small' || issue.code === 'too_big')
    return `${name}: expected ${boundOf(issue)}, got ${got}`;
  return `${name}: ${issue.message}${issue.code === 'custom' ? '' : `, got ${got}`}`;
}

/** What a limit asks for: of a number its size, of a list or a text its length. */
function boundOf(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const isLeast = issue.code === 'too_small';
  const limit = String(isLeast ? issue.minimum : issue.maximum);
  const things = { array: 'items', string: 'characters' } as Readonly<Record<string, string>>;
  const thing = things[issue.origin];
  if (issue.inclusive !== false)
    return `${isLeast ? 'at least' : 'at most'} ${limit}${thing ? ` ${thing}` : ''}`;
  return `${thing ? `${thing} ` : ''}${isLeast ? 'above' : 'below'} ${limit}`;
}

/** None of the forms that a field tells apart has the value of that field. */
function kindSentence(field: string, schema: z.ZodType, place: Place, value: unknown): string {
  const forms = formsAt(schema, place.slice(0, -1), value);
  const kinds = [
    ...new Set(
      forms.flatMap((form) => literalsOf(definitionOf(form).shape?.[field])).filter((kind) => kind !== ''),
    ),
  ];
  const given = valueAt(value, place);
  const meant = typeof given === 'string' ? nearest(given, kinds) : undefined;
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return `${nameOf(place)}: expected one of ${kinds.join(', ')}, got ${shown(given)}${hint}`;
}

function literalsOf(schema: z.ZodType | undefined): string[] {
  return schema === undefined ? [] : ((definitionOf(schema).values ?? []) as unknown[]).map(String);
}

/** How far a value is like a form: what is wrong lies deep in it, or it is of the right type and says something else. */
function fit(issues: readonly z.core.$ZodIssue[]): number {
  return issues.reduce((most, { path, code }) => {
    const more = code === 'unrecognized_keys' ? 1 : code === 'custom' ? 0.5 : 0;
    return Math.max(most, path.length + more);
  }, 0);
}

function nameOf(place: Place): string {
  return place
    .map((part, n) => (typeof part === 'number' ? `[${part}]` : `${n > 0 ? '.' : ''}${String(part)}`))
    .join('');
}

function valueAt(value: unknown, place: Place): unknown {
  return place.reduce<unknown>(
    (at, part) =>
      typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[part] : undefined,
    value,
  );
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, MAX_LETTERS);
}

/** Where it stands, or what it would stand in. */
function offsetOf(document: Document, place: Place): number {
  for (let length = place.length; length > 0; length--) {
    const [node, parent] = [place.slice(0, length), place.slice(0, length - 1)];
    const holder = parent.length === 0 ? document.contents : document.getIn(parent, true);
    // Of a field, its name.
    if (isNode(holder) && 'items' in holder)
      for (const item of holder.items as { key?: { value?: unknown; range?: number[] } }[])
        if (item.key?.value === node.at(-1) && item.key?.range) return item.key.range[0]!;
    const found = document.getIn(node, true);
    if (isNode(found) && found.range) return found.range[0];
  }
  return 0;
}

interface Definition {
  type: string;
  innerType?: z.ZodType;
  element?: z.ZodType;
  valueType?: z.ZodType;
  options?: readonly z.ZodType[];
  in?: z.ZodType;
  /** The value of a literal. */
  values?: readonly unknown[];
  shape?: Record<string, z.ZodType>;
  getter?: () => z.ZodType;
}

function definitionOf(schema: z.ZodType): Definition {
  return schema.def;
}

/** The fields that the schema knows at a place; of several forms, those of all that fit. */
function fieldsAt(schema: z.ZodType, place: Place, value: unknown): string[] {
  return [
    ...new Set(formsAt(schema, place, value).flatMap((form) => Object.keys(definitionOf(form).shape ?? {}))),
  ];
}

/** The objects that the schema knows at a place: of several forms, those of the kind that the value says, if it says one. */
function formsAt(schema: z.ZodType, place: Place, value: unknown): z.ZodType[] {
  const { type, innerType, element, valueType, options, in: input, shape, getter } = definitionOf(schema);
  const inner = innerType ?? input ?? getter?.();
  if (inner !== undefined) return formsAt(inner, place, value);
  if (options !== undefined) {
    const ofKind = options.filter((option) => isOfKind(option, value));
    return (ofKind.length > 0 ? ofKind : options).flatMap((option) => formsAt(option, place, value));
  }
  const [first, ...rest] = place;
  const below = first === undefined ? undefined : valueAt(value, [first]);
  if (type === 'object' && shape !== undefined) {
    if (first === undefined) return [schema];
    const field = shape[String(first)];
    return field === undefined ? [] : formsAt(field, rest, below);
  }
  const of = element ?? valueType;
  return first === undefined || of === undefined ? [] : formsAt(of, rest, below);
}

/** Whether a form has a field of one text, and the value has that text in it. */
function isOfKind(form: z.ZodType, value: unknown): boolean {
  const { shape } = definitionOf(form);
  if (shape === undefined || typeof value !== 'object' || value === null) return false;
  return Object.entries(shape).some(([name, field]) => {
    const said = (value as Record<string, unknown>)[name];
    return typeof said === 'string' && literalsOf(field).includes(said);
  });
}

function united(parse: (text: string) => number, what: string): z.ZodType<number, number | string> {
  return z
    .union([z.number(), z.string()])
    .transform((given, context) => {
      try {
        return parse(String(given));
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    })
    .meta({ description: what });
}

/** Milliseconds, written `30s`, `250ms`, `5m`. */
export const duration = united(parseDuration, 'a time with its unit: 250ms, 30s, 5m');
/** Per second, written `50k`. */
export const rate = united(parseRate, 'a number a second: 500, 50k, 1.5M');
/** Bytes, written `64MB`. */
export const size = united(parseSize, 'a size: 512, 64kB, 1MB');

/** As YAML: tables of numbers in rows, all else in lines. */
export function writeYaml(value: object): string {
  const document = new Document(value, { aliasDuplicateObjects: false });
  visit(document, {
    Seq: (_key, node) => {
      if (!isTable(node)) return undefined;
      node.flow = true;
      return visit.SKIP;
    },
  });
  return document.toString({ flowCollectionPadding: false, lineWidth: 0 });
}

function isTable(node: YAMLSeq): boolean {
  return node.items.every((item) => isScalar(item) || (isSeq(item) && isTable(item)));
}
