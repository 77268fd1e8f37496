// The look, checked: contrast of every pair in use in both themes, tokens only outside tokens.css, every icon and class exists.

import { describe, expect, test } from 'vitest'
import sprite from '../parts/Sprite.svelte?raw'
import names from '../lib/icons.ts?raw'
import tokensText from './tokens.css?raw'

const sheets = import.meta.glob<string>(['./*.css', '../app.css', '!./tokens.css'], { query: '?raw', import: 'default', eager: true })
const parts = import.meta.glob<string>(['../**/*.svelte', '!../parts/Sprite.svelte'], { query: '?raw', import: 'default', eager: true })
const bare = (css: string): string => css.replace(/\/\*[^]*?\*\//g, '')

const colours = new Map<string, [string, string]>()
for (const m of tokensText.slice(0, tokensText.indexOf('[data-density')).matchAll(/--([\w-]+):\s*light-dark\(\s*(#[0-9a-f]{6,8})\s*,\s*(#[0-9a-f]{6,8})\s*\)/gi)) colours.set(m[1] ?? '', [m[2] ?? '', m[3] ?? ''])

const linear = (c: number): number => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => linear(parseInt(hex.slice(i, i + 2), 16) / 255))
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
export function contrast(a: string, b: string): number {
  const [x = 0, y = 0] = [luminance(a), luminance(b)].sort((p, q) => q - p)
  return (x + 0.05) / (y + 0.05)
}

const pairs: [string, string, number][] = []
const pair = (fg: string, bg: string, least = 4.5): void => { pairs.push([fg, bg, least]) }
for (const t of ['text', 'text-2', 'text-3']) for (const s of ['surface-app', 'surface', 'surface-raised', 'surface-sunken', 'surface-hover', 'surface-selected']) pair(t, s)
for (const s of ['surface-app', 'surface', 'surface-raised', 'surface-hover', 'surface-selected']) {
  pair('accent', s); pair('focus', s, 3); pair('line-control', s, 3); pair('neutral-mark', s, 3); pair('from-secret-mark', s, 3)
  for (const k of ['ok', 'degraded', 'danger']) { pair(`${k}-text`, s); pair(`${k}-mark`, s, 3) }
  for (const k of ['you', 'model', 'outside']) { pair(`from-${k}-text`, s); pair(`from-${k}-mark`, s, 3) }
}
for (const k of ['ok', 'degraded', 'danger', 'neutral']) { pair(`${k}-text`, `${k}-wash`); pair('text', `${k}-wash`); pair('text-2', `${k}-wash`) }
for (const k of ['degraded', 'danger']) pair('text-3', `${k}-wash`)
for (const k of ['you', 'model', 'outside']) { pair(`from-${k}-text`, `from-${k}-wash`); pair('text', `from-${k}-wash`); pair('text-2', `from-${k}-wash`) }
for (const k of ['strong', 'medium', 'weak', 'refuse', 'remote']) pair(`tier-${k}-text`, `tier-${k}-wash`)
for (const k of ['read', 'costly', 'disclose', 'write', 'high', 'irreversible']) pair(`effect-${k}-text`, `effect-${k}-wash`)
pair('on-ink', 'ink'); pair('on-ink', 'ink-hover'); pair('on-ink-2', 'ink'); pair('on-danger', 'danger-solid'); pair('on-danger', 'danger-solid-hover'); pair('accent', 'accent-wash'); pair('hidden-text', 'hidden-wash')
for (const k of ['add', 'del']) for (const bg of ['wash', 'strong']) { pair(`diff-${k}-text`, `diff-${k}-${bg}`); pair('text', `diff-${k}-${bg}`) }
pair('text-3', 'diff-hunk-wash'); pair('text-3', 'diff-add-wash'); pair('text-3', 'diff-del-wash')

describe('contrast', () => {
  test('the measure is right', () => {
    expect(contrast('#000000', '#ffffff')).toBeCloseTo(21)
    expect(contrast('#777777', '#ffffff')).toBeCloseTo(4.48, 1)
  })
  test.each(['light', 'dark'] as const)('%s', (theme) => {
    const i = theme === 'light' ? 0 : 1
    const short = pairs.flatMap(([fg, bg, least]) => {
      const [a, b] = [colours.get(fg)?.[i], colours.get(bg)?.[i]]
      if (!a || !b) return [`${fg} or ${bg} is not defined`]
      const c = contrast(a, b)
      return c < least ? [`${fg} on ${bg}: ${c.toFixed(2)} < ${least}`] : []
    })
    expect(short).toEqual([])
  })
})

describe('tokens', () => {
  // Lengths in a media query cannot be tokens; a data picture is not a colour.
  const raw = (css: string): string[] => bare(css).replace(/@media[^{]+/g, '').match(/#[0-9a-f]{3,8}\b(?=[^{}]*[;}])|\b(?:rgb|hsl|oklch)a?\(|(?<![\w-])[\d.]+(?:px|rem|pt|ms|s)\b/gi) ?? []
  const defined = new Set([...tokensText.matchAll(/^\s*--([\w-]+):/gm)].map((m) => m[1]))
  const given = new Set(['arm'])
  test('the search finds raw values', () => {
    expect(raw('a { color: #fff; margin: 2px; transition: all 80ms; }')).toEqual(['#fff', '2px', '80ms'])
    expect(raw('a { color: var(--text); inline-size: 32%; line-height: 1.5; }')).toEqual([])
  })
  test('style sheets are found', () => expect(Object.keys(sheets).length).toBeGreaterThan(6))
  test.each(Object.entries(sheets))('%s has no raw value and no unknown token', (_file, css) => {
    expect(raw(css)).toEqual([])
    expect([...bare(css).matchAll(/var\(--([\w-]+)/g)].map((m) => m[1] ?? '').filter((t) => !defined.has(t) && !given.has(t))).toEqual([])
  })
})

describe('parts', () => {
  const rules = new Set(Object.values(sheets).flatMap((css) => [...bare(css).matchAll(/\.([a-z][\w-]*)/g)].map((m) => m[1])))
  test.each(Object.entries(parts))('%s has no raw HTML, raw style or inline handler', (_file, text) => {
    expect(text).not.toMatch(/\{@html|\sstyle="|innerHTML|\son[a-z]+="(?!\{)/)
    expect(text).not.toMatch(/<style/)
    if (!/app\.svelte'|lib\/api'/.test(text)) expect(text).not.toMatch(/window\.(?:go|runtime)/)
  })
  test('every class has a rule', () => {
    const missing = Object.entries(parts).flatMap(([file, text]) => [...text.matchAll(/\sclass="([^"{}]+)"/g)].flatMap((m) => (m[1] ?? '').split(/\s+/)).filter((c) => c && !rules.has(c)).map((c) => `${file}: ${c}`))
    expect(missing).toEqual([])
  })
  test('every icon is drawn, and named once', () => {
    const drawn = [...sprite.matchAll(/<symbol id="([\w-]+)"/g)].map((m) => m[1])
    const known = [...names.matchAll(/'([\w-]+)'/g)].map((m) => m[1])
    expect(known).toEqual(drawn)
  })
  test('only api.ts reaches for the host', () => {
    const code = import.meta.glob<string>(['../lib/*.ts', '!../lib/*.test.ts', '../screens/*', '../parts/**/*', '../App.svelte'], { query: '?raw', import: 'default', eager: true })
    const reaching = Object.entries(code).filter(([, text]) => /window\.(?:go|runtime)|wailsjs/.test(text)).map(([file]) => file)
    expect(reaching).toEqual(['../lib/api.ts'])
  })
})
