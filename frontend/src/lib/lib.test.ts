import { describe, expect, test, vi } from 'vitest'
import { api, isFailure, toFailure } from './api'
import { shellWords, splitArgv } from './argv'
import { bytes, clock, defang, lasting, remaining, shortDigest, took, when } from './format'
import { countHidden, pieces } from './hidden'
import { guardLinks } from './links'
import { stretches } from './spans'
import { findTable, pretty } from './table'
import { fold, markWords } from './words'
import type { Bound, DiffLine } from './types'

describe('hidden characters', () => {
  const shown = (text: string): string => pieces(text).map((p) => (p.hidden ? `[${p.label}]` : p.text)).join('')
  test.each([
    ['run\u202Efdp.exe', 'run[U+202E]fdp.exe'],
    ['a\u200B\u200B\u200Bb', 'a[U+200B ×3]b'],
    ['a\u200B\u202Eb', 'a[U+200B][U+202E]b'],
    ['a\u00A0b', 'a[U+00A0]b'],
    ['x\u001B[31m', 'x[U+001B][31m'],
    ['line\r\n', 'line[U+000D]\n'],
    ['\uD800', '[U+D800]'],
    ['soft\u00ADhyphen \u3164', 'soft[U+00AD]hyphen [U+3164]'],
    [[...'hi'].map((c) => String.fromCodePoint(0xe0000 + c.charCodeAt(0))).join(''), '[2 tag characters: “hi”]'],
  ])('%j shows as %j', (text, want) => expect(shown(text)).toBe(want))
  test('ordinary text in any script stays as it is', () => {
    for (const text of ['plain text, tabs\t and\nlines', 'Grüße', '日本語', 'עברית', '🙂', '']) expect(shown(text)).toBe(text)
  })
  test('the pieces join to the input', () => {
    const text = 'a\u200B\u202E\uD800b \u{E0041}\u{E0042}c'
    expect(pieces(text).map((p) => p.text).join('')).toBe(text)
    expect(countHidden(text)).toBe(5)
  })
})

describe('spans', () => {
  const cut = (text: string, ...spans: [number, number][]) => stretches(text, spans.map(([start, end]) => ({ start, end, origin: 'outside', detail: '' }))).map((s) => (s.origin ? `<${s.text}>` : s.text)).join('')
  test('mark the quoted part', () => expect(cut('abcdef', [2, 4])).toBe('ab<cd>ef'))
  test('overlap, disorder and bad bounds lose no text', () => {
    expect(cut('abcdef', [4, 99], [1, 3], [2, 5])).toBe('a<bc><de><f>')
    expect(cut('abc', [5, 9], [2, 1], [-4, 1])).toBe('<a>bc')
    expect(cut('')).toBe('')
  })
})

describe('argv', () => {
  test.each<[string, string[]]>([
    ['node server.js  --root /tmp', ['node', 'server.js', '--root', '/tmp']],
    [`node "a b" 'c "d"' e\\ f`, ['node', 'a b', 'c "d"', 'e f']],
    [`x "" ''`, ['x', '', '']],
    [`--a="b c"d`, ['--a=b cd']],
    [`'a\\b' "a\\"b"`, ['a\\b', 'a"b']],
    ['  ', []],
    ['echo $HOME | cat', ['echo', '$HOME', '|', 'cat']],
  ])('%j', (line, words) => expect(splitArgv(line)).toEqual({ words, problem: '' }))
  test('open quotes and a trailing backslash are named', () => {
    expect(splitArgv('a "b').problem).toContain('not closed')
    expect(splitArgv('a \\').problem).toContain('backslash')
  })
  test('words for a shell are pointed out', () => {
    expect(shellWords(['echo', '$HOME', '|', 'cat', '~/x', 'a|b', '2>&1'])).toEqual(['$HOME', '|', '~/x', '2>&1'])
    expect(shellWords(['node', '--x=1', '/a/b'])).toEqual([])
  })
})

describe('api', () => {
  const failure = { code: 'CRD-SRV-07', what: 'w', means: 'm', fix: 'f' }
  test('a failure passes through, as object or as JSON', () => {
    expect(toFailure(failure)).toBe(failure)
    expect(toFailure(JSON.stringify(failure))).toEqual(failure)
    expect(toFailure(new Error(JSON.stringify(failure)))).toEqual(failure)
  })
  test.each(['plain words', new Error('plain words')])('%s is wrapped', (thrown) => expect(toFailure(thrown)).toMatchObject({ code: 'CRD-UI-01', what: 'plain words' }))
  test.each([undefined, null, 42, {}, { code: 1 }, '{"code":1}', '{broken'])('%j is a failure too', (thrown) => expect(isFailure(toFailure(thrown))).toBe(true))
  test('calls go to the bound method, whose errors become failures', async () => {
    const RemoveServer = vi.fn().mockRejectedValue('no such server')
    window.go = { app: { App: { RemoveServer } as unknown as Bound } }
    await expect(api.RemoveServer('x')).rejects.toMatchObject({ code: 'CRD-UI-01', what: 'no such server' })
    expect(RemoveServer).toHaveBeenCalledExactlyOnceWith('x')
    // A method that throws at once, or that is missing, is no different.
    await expect(api.Snapshot()).rejects.toMatchObject({ code: 'CRD-UI-01' })
    window.go = undefined
    await expect(api.Snapshot()).rejects.toMatchObject({ code: 'CRD-UI-02' })
  })
})

describe('format', () => {
  test('times are UTC', () => {
    expect(clock('2026-11-23T09:47:31.020+02:00')).toBe('07:47:31')
    expect(clock('')).toBe('')
    expect(clock('0001-01-01T00:00:00Z')).toBe('')
    expect(when('2026-11-23T08:00:00Z', new Date('2026-11-23T23:59:00Z'))).toBe('today 08:00:00')
    expect(when('2026-11-22T08:00:00Z', new Date('2026-11-23T00:01:00Z'))).toBe('2026-11-22 08:00')
  })
  test('figures', () => {
    expect([bytes(0), bytes(1), bytes(1536), bytes(44 * 1024 * 1024)]).toEqual(['0 bytes', '1 byte', '1.5 KiB', '44 MiB'])
    expect([lasting(45), lasting(600), lasting(5400), lasting(0)]).toEqual(['45 s', '10 min', '1 h 30 min', '0 s'])
    expect([took(91), took(6400), took(65_000)]).toEqual(['91 ms', '6.4 s', '1 min 5 s'])
    expect([remaining(107), remaining(0.2), remaining(-3)]).toEqual(['1:47', '0:01', '0:00'])
    expect(shortDigest('sha256:9f2c41d7a8')).toBe('9f2c 41d7')
    expect(defang('see https://a.example/x.y and 10.0.0.1')).toBe('see hxxps://a[.]example/x.y and 10[.]0[.]0[.]1')
  })
})

describe('tables', () => {
  test('an array of flat objects', () => {
    expect(findTable('[{"a":1,"b":"x"},{"a":2,"c":null}]')).toEqual({ columns: ['a', 'b', 'c'], rows: [['1', 'x', ''], ['2', '', 'null']], numeric: [true, false, false], whole: true })
    expect(findTable('{"rows":[{"a":1}],"more":true}')).toMatchObject({ columns: ['a'], whole: false })
  })
  test.each(['', 'text', '[]', '[1]', '[{"a":{}}]', '{"a":1}', '{"a":[{"x":1}],"b":[{"y":1}]}', '[{"a":12345678901234567}]', '[{}]', '[{"a":1}'])('%j is none', (text) => expect(findTable(text)).toBeNull())
  test('__proto__ is a column like any other', () => expect(findTable('[{"__proto__":"x"}]')).toMatchObject({ columns: ['__proto__'], rows: [['x']] }))
  test('long numbers are never reformatted', () => expect(pretty('{"a":12345678901234567}')).toBe('{"a":12345678901234567}'))
})

describe('differences', () => {
  const lines = (text: string): DiffLine[] => text.split('\n').map((l) => ({ sign: l[0] as DiffLine['sign'], old: 0, new: 0, text: l.slice(1) }))
  test('whole words are marked', () => {
    expect(markWords(lines('-"readOnlyHint": false\n+"readOnlyHint": true')).map((l) => l.mark)).toEqual(['false', 'true'])
    expect(markWords(lines('-one thing\n+quite another')).map((l) => l.mark)).toEqual(['', ''])
  })
  test('nothing of a line is lost', () => {
    for (const l of markWords(lines('-aa bb\n+aa cc bb'))) expect(['aa bb', 'aa cc bb']).toContain(l.head + l.mark + l.tail)
  })
  test('context folds, changes never do', () => {
    const text = [...Array(10).fill(' x'), '+new', ...Array(10).fill(' y')].join('\n')
    const parts = fold(lines(text))
    expect(parts.map((p) => ('folded' in p ? p.folded.length : p.sign))).toEqual([7, ' ', ' ', ' ', '+', ' ', ' ', ' ', 7])
    expect(fold(lines('+a\n-b')).every((p) => !('folded' in p))).toBe(true)
  })
})

describe('links', () => {
  test('a click on an outside address asks and goes nowhere; an inside one passes', () => {
    const ask = vi.fn()
    const off = guardLinks(window, ask)
    document.body.innerHTML = '<a href="https://a.example/"><b>x</b></a><a href="javascript:alert(1)">y</a><a href="#z">z</a>'
    const click = (sel: string, type = 'click'): boolean => document.querySelector(sel)!.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true }))
    expect(click('b')).toBe(false)
    expect(click('b', 'auxclick')).toBe(false)
    expect(click('a:nth-child(2)')).toBe(false)
    expect(click('a:nth-child(3)')).toBe(true)
    expect(ask.mock.calls).toEqual([['https://a.example/'], ['https://a.example/'], ['javascript:alert(1)']])
    off()
    document.body.innerHTML = ''
  })
})
