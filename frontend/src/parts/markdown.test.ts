// What a model writes is text: never markup, never live, and never too much.

import { render } from '@testing-library/svelte'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { fireEvent } from '@testing-library/svelte'
import { settle } from '../dev/testing'
import { app } from '../lib/app.svelte'
import { cited, mostBlock, mostBlocks, mostText, parse, read, Reader, trap, type Node } from '../lib/markdown'
import Markdown from './Markdown.svelte'

const draw = (text: string, known: number[] = [], oncite: (n: number) => void = () => {}): HTMLElement => render(Markdown, { text, known: new Set(known), oncite }).container
afterEach(() => { app.overlay = { kind: 'none' } })

describe('what is drawn', () => {
  test('paragraphs, headings, emphasis and code', () => {
    const c = draw('# Title\n\nSome **bold**, *slanted*, ~~struck~~ and `a<b>` text.\nNext line.\n\n### Small\n\n---\n\n> quoted\n')
    expect(c.querySelector('h3')?.textContent).toBe('Title')
    expect(c.querySelector('h4')?.textContent).toBe('Small')
    expect(c.querySelector('h1, h2')).toBeNull()
    expect([...c.querySelectorAll('strong, em, s, code')].map((n) => n.textContent)).toEqual(['bold', 'slanted', 'struck', 'a<b>'])
    expect(c.querySelector('hr')).toBeTruthy()
    expect(c.querySelector('blockquote')?.textContent.trim()).toBe('quoted')
  })
  test('lists within lists, tasks, numbers that begin elsewhere', () => {
    const c = draw('- a\n  - b\n- c\n\n3. three\n4. four\n\n- [x] done\n- [ ] open\n')
    expect(c.querySelectorAll('ul ul li').length).toBe(1)
    expect(c.querySelector('ol')?.getAttribute('start')).toBe('3')
    expect([...c.querySelectorAll('[role="img"]')].map((n) => n.getAttribute('aria-label'))).toEqual(['done', 'open'])
    expect(c.querySelector('input')).toBeNull()
  })
  test('tables with their alignment', () => {
    const c = draw('| a | b |\n|---|--:|\n| x | 1 |\n| y | 2 |\n')
    expect(c.querySelectorAll('tbody tr').length).toBe(2)
    expect(c.querySelector('td.num')?.textContent).toBe('1')
  })
  test('code with its language, copied as it is', async () => {
    const wrote = vi.fn(() => Promise.resolve())
    vi.stubGlobal('navigator', { clipboard: { writeText: wrote } })
    const c = draw('```kql\nSecurityEvent | where x == "https://a.example"\n\n\n  indented\n```\nafter')
    expect(c.querySelector('figcaption')?.textContent).toContain('kql')
    await fireEvent.click(c.querySelector('button')!)
    await settle()
    expect(wrote).toHaveBeenCalledWith('SecurityEvent | where x == "https://a.example"\n\n\n  indented')
    expect(c.querySelector('p')?.textContent).toBe('after')
    vi.unstubAllGlobals()
  })
  test('a list that holds code keeps it', () => {
    const c = draw('1. run\n\n   ```sh\n   ls\n   ```\n\n2. look\n')
    expect(c.querySelectorAll('ol > li').length).toBe(2)
    expect(c.querySelector('li pre')?.textContent).toBe('ls')
  })
})

describe('what is not', () => {
  test('HTML is text', () => {
    const c = draw('<img src=x onerror=alert(1)> <script>alert(1)</script>\n\n<iframe src="https://a.example"></iframe>\n\n<!-- hidden --> a <b>b</b>\n\n&lt;u&gt; &#x3c;')
    expect(c.querySelector('img, script, iframe, b, u')).toBeNull()
    for (const said of ['onerror=alert(1)', '<script>', '<iframe', '<!-- hidden -->', '<b>b</b>', '<u> <']) expect(c.textContent).toContain(said)
  })
  test('no link is live: it is a button, its address defanged, and it asks', async () => {
    const c = draw('[click **me**](https://evil.example/?q=1) https://b.example/x <https://c.example> [j](javascript:alert(1)) [r]\n\n[r]: https://d.example')
    expect(c.querySelector('a, [href]')).toBeNull()
    for (const said of ['click me', 'hxxps://evil[.]example/?q=1', 'hxxps://b[.]example/x', 'hxxps://c[.]example', 'javascript:alert(1)', 'hxxps://d[.]example']) expect(c.textContent).toContain(said)
    expect(c.textContent).not.toContain('https://')
    await fireEvent.click(c.querySelector('button.link')!)
    expect(app.overlay).toEqual({ kind: 'link', url: 'https://evil.example/?q=1' })
  })
  test('no picture is loaded', () => {
    const c = draw('![pixel](https://evil.example/p.png?leak) ![](data:image/png;base64,AAAA)')
    expect(c.querySelector('img')).toBeNull()
    expect(c.textContent).toContain('image: pixel (hxxps://evil[.]example/p.png?leak)')
    expect(c.textContent).toContain('image: without words')
  })
  test('hidden characters have names, wherever they are', () => {
    const c = draw('a\u202eb `c\u200bd` [e\u2066](https://a.example/\u202e)\n\n```\u200b\nf\u00adg\n```\n\n| \u200b |\n|--|\n| x |\n')
    expect(c.textContent).not.toMatch(/[\u202e\u200b\u2066\u00ad]/)
    expect(c.querySelectorAll('.hid').length).toBe(7)
  })
})

describe('citations', () => {
  test('of a result that is there are buttons; of none they say so', async () => {
    const seen: number[] = []
    const c = draw('So it is [#3], also [#1, #9]. Not `[#3]`, nor [#3](https://evil.example), nor #3.\n\n| [#1] |\n|--|\n| [#2] |\n', [1, 3], (n) => seen.push(n))
    expect([...c.querySelectorAll('button.cite')].map((b) => b.textContent)).toEqual(['#3', '#1', '#1'])
    expect([...c.querySelectorAll('[data-test="no-such-result"]')].map((b) => b.textContent)).toEqual(['#9 no such result', '#2 no such result'])
    expect(c.querySelector('code')?.textContent).toBe('[#3]')
    await fireEvent.click(c.querySelector('button.cite')!)
    expect(seen).toEqual([3])
  })
  test('are counted once each', () => expect(cited('a [#3] b [#1][#3] [#2, #1] #4 [4]')).toEqual([3, 1, 2]))
})

describe('a text that grows', () => {
  const text = 'One *para*\ngoes on.\n\n- a\n\n- b\n  more\n\n```ts\nlet x = 1\n\nlet y\n```\n| a |\n|---|\n| [#1] |\n\nEnd **here'
  const bare = (blocks: readonly { nodes: Node[] }[]): Node[] => blocks.flatMap((b) => b.nodes)
  test('is the same as one that came whole, at every length', () => {
    const r = new Reader()
    for (let i = 1; i <= text.length; i++) expect(bare(r.update(text.slice(0, i))), `at ${i}`).toEqual(bare(parse(text.slice(0, i))))
  })
  test('keeps its earlier blocks, object by object', () => {
    const r = new Reader()
    const before = r.update(text.slice(0, 60))
    const after = r.update(text)
    expect(after.length).toBeGreaterThan(before.length)
    for (const [i, b] of before.slice(0, -1).entries()) expect(after[i]).toBe(b)
  })
  test('reads a block once and what is at the end again', () => {
    const r = new Reader()
    let whole = ''
    for (let i = 0; i < 400; i++) { whole += `Paragraph ${i} with *words*.\n\n`; r.update(whole) }
    expect(r.update(whole).length).toBe(400)
    expect(r.reads).toBeLessThanOrEqual(800)
  })
  test('another text begins anew', () => {
    const r = new Reader()
    r.update('a\n\nb')
    expect(bare(r.update('c'))).toEqual(bare(parse('c')))
  })
  test('the page keeps its elements', async () => {
    const { container, rerender } = render(Markdown, { text: 'One.\n\nTwo' })
    const first = container.querySelector('p')
    await rerender({ text: 'One.\n\nTwo, and more.\n\n- three' })
    expect(container.querySelector('p')).toBe(first)
    expect(container.querySelectorAll('p')[1]?.textContent).toBe('Two, and more.')
    expect(container.querySelector('li')).toBeTruthy()
  })
})

describe('hostile text', () => {
  const deep = (n: number): string => Array.from({ length: n }, (_, i) => `${'  '.repeat(i)}- x`).join('\n')
  const traps: [string, string][] = [
    ['stars', '*'.repeat(100_000)], ['stars apart', '*a '.repeat(50_000)], ['underscores', '_a_ '.repeat(50_000)], ['brackets', '['.repeat(100_000)], ['links', '[a]('.repeat(50_000)], ['nested links', '[![a]('.repeat(20_000)],
    ['quotes', '>'.repeat(100_000)], ['quotes apart', '> '.repeat(50_000)], ['lists in a line', '- '.repeat(50_000)], ['numbers in a line', '1. '.repeat(50_000)], ['ever deeper', deep(1000)], ['ticks', '`'.repeat(100_000)], ['ticks of all lengths', Array.from({ length: 500 }, (_, i) => '`'.repeat(i)).join(' ')],
    ['tags', '<a '.repeat(50_000)], ['comments', '<!--'.repeat(50_000)], ['entities', '&#x202e;'.repeat(20_000)], ['pipes', '|'.repeat(100_000)], ['a wide table', `${'|a'.repeat(5000)}\n${'|-'.repeat(5000)}\n`], ['tildes', '~~a'.repeat(50_000)], ['backslashes', '\\'.repeat(100_000)], ['addresses', 'http://a.b '.repeat(20_000)],
    ['one line of a million', 'x'.repeat(1_000_000)], ['mixed', '> - 1. * '.repeat(10_000)], ['an open fence', `\`\`\`\n${'x\n'.repeat(100_000)}`], ['mail', 'a@'.repeat(50_000)], ['hosts', 'a.'.repeat(4000)], ['blanks', ' '.repeat(200_000) + 'x'], ['headings', '#'.repeat(100_000)], ['underlined', `${'a\n'.repeat(30_000)}===`],
  ]
  const size = (nodes: readonly Node[]): number => nodes.reduce((n, b) => n + 1 + (b.kind === 'list' ? b.items.reduce((m, i) => m + size(i.blocks), 0) : b.kind === 'quote' ? size(b.blocks) : 0), 0)
  test.each(traps)('%s: few nodes, nothing lost', (_name, text) => {
    const blocks = parse(text)
    expect(blocks.length).toBeLessThanOrEqual(mostBlocks + 1)
    expect(blocks.reduce((n, b) => n + size(b.nodes), 0)).toBeLessThan(3000)
    for (const b of blocks) if (b.nodes[0]?.kind !== 'code' && b.raw.length > mostBlock) expect(b.nodes).toEqual([{ kind: 'plain', text: b.raw }])
  })
  test('what marked would be slow with is never given to it', () => {
    for (const [name, text] of traps) for (const b of parse(text)) if (b.raw.length > mostBlock && !b.raw.startsWith('```')) expect(trap(b.raw), name).toBe(true)
    for (const name of ['quotes', 'lists in a line', 'ever deeper', 'stars', 'brackets']) expect(trap(traps.find((t) => t[0] === name)?.[1] ?? ''), name).toBe(true)
    expect(read(`${'> '.repeat(40)}x`)).toEqual([{ kind: 'plain', text: `${'> '.repeat(40)}x` }])
  })
  test('ordinary text is no trap', () => {
    expect(trap('A **b** and [c](d), `e`.\n- f\n  - g\n    - h\n')).toBe(false)
    expect(trap('word '.repeat(2000))).toBe(false)
  })
  test('a megabyte ends somewhere and says what is left', () => {
    const r = new Reader()
    r.update('A line of words.\n\n'.repeat(60_000))
    expect(r.rest.length).toBeGreaterThan(500_000)
    expect(r.update('a'.repeat(mostText + 5)).length).toBe(1)
    expect(r.rest).toBe('aaaaa')
  })
  test('growing by a sign at a time reads no more than its end', () => {
    const r = new Reader()
    const text = `${'*a '.repeat(300)}\n\n${'- '.repeat(200)}`
    for (let i = 0; i <= text.length; i += 7) r.update(text.slice(0, i))
    expect(r.reads).toBeLessThan(text.length / 3)
  })
  test('very many hidden characters are named in few elements', () => {
    const c = draw(`${'\u202e\u200b'.repeat(8000)}${'a\u202e'.repeat(50_000)}`)
    expect(c.querySelectorAll('*').length).toBeLessThan(20_000)
    expect(c.textContent).not.toContain('\u202e')
    expect(c.textContent).toContain('[U+200B][U+202E][U+200B]')
  })
  test('a very long word beside a mark has places to break, and stays one word', () => {
    const c = draw(`\u200b${'x'.repeat(10_000)}\u{1f600}`)
    expect(c.querySelectorAll('wbr').length).toBe(20)
    expect(c.textContent.trim()).toBe(`U+200B${'x'.repeat(10_000)}\u{1f600}`)
  })
  test('the page of a hostile text is small', () => {
    for (const [name, text] of traps.slice(0, 12)) expect(draw(text).querySelectorAll('*').length, name).toBeLessThan(6000)
  })
})
