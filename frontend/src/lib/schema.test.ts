import { describe, expect, test } from 'vitest'
import { fill, objectProblem, readForm, spread } from './schema'

const form = (properties: object, required: string[] = [], more: object = {}) => readForm(JSON.stringify({ type: 'object', properties, required, ...more }))
const kinds = (properties: object, more: object = {}) => Object.fromEntries(form(properties, [], more).fields.map((f) => [f.name, f.kind]))
const sent = (properties: object, values: Record<string, string>, required: string[] = []) => fill(form(properties, required).fields, new Map(Object.entries(values)))

describe('fields', () => {
  test('each simple type has its control', () => {
    expect(kinds({
      a: { type: 'string' }, b: { type: 'string', maxLength: 5000 }, c: { type: 'number' }, d: { type: 'integer' }, e: { type: 'boolean' }, f: { enum: ['x', 1, null] },
      g: { type: 'array', items: { type: 'string' } }, h: { type: 'object' }, i: { type: 'array', items: { type: 'number' } }, j: {}, k: true, l: { type: ['string', 'null'] }, m: { anyOf: [{ type: 'integer' }, { type: 'null' }] }, n: { type: 'string', description: 'File content' },
    })).toEqual({ a: 'string', b: 'text', c: 'number', d: 'integer', e: 'boolean', f: 'choice', g: 'lines', h: 'json', i: 'json', j: 'json', k: 'json', l: 'string', m: 'integer', n: 'text' })
  })
  test('a type beside alternatives is not the whole truth', () => {
    expect(kinds({ a: { type: 'string', $ref: '#' }, b: { type: 'string', allOf: [{ minLength: 1 }] }, c: { type: 'integer', not: { const: 0 } }, d: { type: 'string', oneOf: [{ const: 'x' }, { const: 'y' }] } })).toEqual({ a: 'json', b: 'json', c: 'json', d: 'json' })
  })
  test('required ones come first, with defaults and hints', () => {
    const { fields } = form({ b: { type: 'integer', default: 5, minimum: 1, maximum: 9, description: 'How many.' }, a: { type: 'string' }, c: { enum: ['x', 'y'], default: 'y' }, d: { type: 'array', items: { type: 'string' }, default: ['p', 'q'] } }, ['a'])
    expect(fields.map((f) => [f.name, f.required, f.initial])).toEqual([['a', true, ''], ['b', false, '5'], ['c', false, '"y"'], ['d', false, 'p\nq']])
    expect(fields[1]?.hint).toBe('How many. From 1 to 9.')
  })
  test('one reference is followed, and only one', () => {
    const defs = { $defs: { Name: { type: 'string' }, Loop: { $ref: '#/$defs/Loop' }, Far: { $ref: '#/$defs/Name' } } }
    expect(kinds({ a: { $ref: '#/$defs/Name' }, b: { $ref: '#/$defs/Loop' }, c: { $ref: '#/$defs/Far' }, d: { $ref: '#' }, e: { $ref: 'https://x.example/s' }, f: { $ref: '#/$defs/Missing' } }, defs)).toEqual({ a: 'string', b: 'json', c: 'json', d: 'json', e: 'json', f: 'json' })
  })
})

describe('nasty schemas end in a JSON editor, never in a hang', () => {
  test.each(['', '{', 'null', '[]', '"x"', '1', '{"$ref":"#"}', '{"anyOf":[{"$ref":"#"}]}', '{"properties":5}', '{"properties":{"a":null}}', '{"required":5,"properties":{"a":{"enum":[]}}}', `${'{"properties":{"a":'.repeat(5000)}1${'}}'.repeat(5000)}`])('%.40s', (text) => {
    const started = performance.now()
    const { fields } = readForm(text)
    expect(performance.now() - started).toBeLessThan(500)
    expect(fields.every((f) => f.kind === 'json')).toBe(true)
  })
  test('a definitions bomb costs nothing', () => {
    const $defs = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`d${i}`, { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }]))
    const started = performance.now()
    expect(kinds({ a: { $ref: '#/$defs/d0' } }, { $defs })).toEqual({ a: 'json' })
    expect(performance.now() - started).toBeLessThan(500)
  })
  test('names of the language are names of fields', () => {
    const { fields } = readForm('{"properties":{"__proto__":{"type":"string"},"constructor":{"type":"string"},"toString":{"type":"string"}}}')
    expect(fields.map((f) => f.name)).toEqual(['__proto__', 'constructor', 'toString'])
    expect(fill(fields, new Map([['__proto__', 'x']])).text).toBe('{"__proto__":"x"}')
  })
})

describe('what is sent', () => {
  test('typed values become JSON; empty optional ones are left out', () => {
    expect(sent({ s: { type: 'string' }, n: { type: 'number' }, b: { type: 'boolean' }, l: { type: 'array', items: { type: 'string' } }, j: { type: 'object' }, e: { enum: ['x', 2] }, o: { type: 'string' } }, { s: 'a "b"\n', n: '1.50', b: 'false', l: 'p\n\nq\n', j: '{"k":[1]}', e: '2', o: '' }).text).toBe('{"s":"a \\"b\\"\\n","n":1.50,"b":false,"l":["p","q"],"j":{"k":[1]},"e":2}')
  })
  test('digits stay as typed', () => expect(sent({ n: { type: 'integer' } }, { n: '9007199254740993' }).text).toBe('{"n":9007199254740993}'))
  test.each([[{ type: 'integer' }, '1.5'], [{ type: 'integer' }, '1e3'], [{ type: 'number' }, 'Infinity'], [{ type: 'number' }, '0x10'], [{ type: 'number' }, '1,"x":2'], [{ type: 'boolean' }, 'yes'], [{ enum: ['a'] }, '"b"'], [{ type: 'object' }, '{"a":'], [{ type: 'object' }, '1},"x":{']])('%j does not take %j', (schema, value) => {
    const { errors, text } = sent({ f: schema }, { f: value })
    expect([...errors.keys()]).toEqual(['f'])
    expect(text).toBe('{}')
  })
  test('a missing required value is named', () => expect(sent({ a: { type: 'string' } }, {}, ['a']).errors.get('a')).toBe('a is required.'))
})

describe('the whole as JSON', () => {
  test('only an object will do', () => {
    expect(objectProblem('{"a":1}')).toBe('')
    for (const text of ['', '[]', '1', 'null', '{']) expect(objectProblem(text)).not.toBe('')
  })
  test('goes back to fields only when nothing is lost', () => {
    const { fields } = form({ a: { type: 'string' }, n: { type: 'integer' }, l: { type: 'array', items: { type: 'string' } } })
    expect(spread(fields, '{"a":"x","n":5,"l":["p","q"]}')).toEqual(new Map([['a', 'x'], ['n', '5'], ['l', 'p\nq']]))
    for (const text of ['{"z":1}', '{"a":5}', '{"n":"x"}', '{"n":12345678901234567}', '{"l":["a\\nb"]}', '{"a":""}', '[]']) expect(spread(fields, text), text).toBeNull()
  })
})
