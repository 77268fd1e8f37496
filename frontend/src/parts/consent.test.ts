import { fireEvent } from '@testing-library/svelte'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { app } from '../lib/app.svelte'
import { click, find, get, open, press, settle, type } from '../dev/testing'
import { promptHigh, promptPractice, promptTwo, promptWrite } from '../dev/prompts'
import type { Answer } from '../lib/types'
import type { Standin } from '../dev/host'

const answers = (host: Standin): Answer[] => host.calls.filter((c) => c[0] === 'Answer').map((c) => c[1] as Answer)
const allow = (): HTMLButtonElement => get('consent-allow') as HTMLButtonElement
const pass = async (ms: number): Promise<void> => { await vi.advanceTimersByTimeAsync(ms); await settle() }

beforeEach(() => { vi.useFakeTimers({ now: new Date('2026-11-23T09:50:00Z') }) })
afterEach(() => { vi.useRealTimers() })

describe('the consent dialog', () => {
  test('opens on Deny, named by the question, described by the consequence, with the rest inert', async () => {
    await open({ prompt: promptWrite(), waiting: 1 })
    const box = get('consent')
    expect(document.activeElement).toBe(get('consent-deny'))
    expect(box.getAttribute('role')).toBe('alertdialog')
    expect(document.getElementById(box.getAttribute('aria-labelledby') ?? '')?.textContent).toContain('Change the file')
    expect(document.getElementById(box.getAttribute('aria-describedby') ?? '')?.textContent).toContain('changes 1 file')
    expect(document.querySelector<HTMLElement & { inert?: boolean }>('.window')?.inert ?? document.querySelector('.window')?.hasAttribute('inert')).toBe(true)
    expect(box.textContent).toContain('1 more waits')
  })
  test('shows every argument whole, its author, and hidden characters by name', async () => {
    await open({ prompt: promptWrite() })
    const text = get('consent').textContent ?? ''
    for (const said of ['options › label', 'U+202E', 'You, quoting #3', 'Tool default', 'title: LSASS handle from an unusual parent', 'strong 14/14', 'flow.quoted']) expect(text).toContain(said)
    expect(get('consent').querySelector('.say-outside')?.textContent).toBe('C:\\ProgramData\\bagent\\bagent.exe')
    await click('consent-exact')
    expect(get('consent').querySelector('pre')?.textContent).toContain('"overwrite":true')
  })
  test('Allow does nothing before it has armed', async () => {
    const host = await open({ prompt: promptWrite() })
    expect(allow().disabled).toBe(true)
    await pass(799)
    expect(allow().disabled).toBe(true)
    await click('consent-allow')
    expect(answers(host)).toEqual([])
    await pass(1)
    expect(allow().disabled).toBe(false)
  })
  test('a click on Allow, armed, answers with the id and digest as given', async () => {
    const prompt = promptWrite()
    const host = await open({ prompt })
    await pass(800)
    await click('consent-allow')
    expect(answers(host)).toEqual([{ id: prompt.id, digest: prompt.digest, allow: true, typed: '' }])
    expect(find('consent')).toBeNull()
  })
  test('Enter approves nothing, wherever the focus is', async () => {
    const host = await open({ prompt: promptWrite() })
    await pass(800)
    allow().focus()
    expect(await press('Enter', {}, allow())).toBe(false)
    expect(await press('Enter', {}, get('consent'))).toBe(true)
    expect(answers(host)).toEqual([])
    // Held down from before, it does not deny either.
    get('consent-deny').focus()
    expect(await press('Enter', { repeat: true }, get('consent-deny'))).toBe(false)
  })
  test('Deny and Esc deny, at once', async () => {
    for (const act of [() => click('consent-deny'), () => press('Escape')]) {
      const prompt = promptWrite()
      const host = await open({ prompt })
      await act()
      expect(answers(host)).toEqual([{ id: prompt.id, digest: prompt.digest, allow: false, typed: '' }])
      expect(find('consent')).toBeNull()
      document.body.innerHTML = ''
    }
  })
  test('an Esc still held down from before answers nothing', async () => {
    const host = await open({ prompt: promptWrite() })
    await press('Escape', { repeat: true })
    expect(answers(host)).toEqual([])
  })
  test.each([['another id', { id: 'p-9' }], ['another digest', { digest: 'ffff' }], ['another argument', { args: [] }]])('%s arms anew, on Deny', async (_name, over) => {
    const host = await open({ prompt: promptWrite() })
    await pass(800)
    allow().focus()
    host.show({ prompt: { ...host.now.prompt!, ...over } })
    await settle()
    expect(allow().disabled).toBe(true)
    expect(document.activeElement).toBe(get('consent-deny'))
    await pass(800)
    expect(allow().disabled).toBe(false)
  })
  test('the same prompt in another snapshot changes nothing', async () => {
    const host = await open({ prompt: promptWrite() })
    await pass(800)
    const box = get('consent')
    allow().focus()
    host.show({ prompt: structuredClone(host.now.prompt!) })
    await settle()
    expect(get('consent')).toBe(box)
    expect(document.activeElement).toBe(allow())
    expect(allow().disabled).toBe(false)
  })
  test('level 2 wants the target’s name, exactly, and sends it', async () => {
    const prompt = promptHigh()
    const host = await open({ prompt })
    await pass(800)
    for (const wrong of ['', 'ws-fin-0142', 'WS-FIN-0142 ', 'WS-FIN-014']) {
      await type('consent-typed', wrong)
      expect(allow().disabled, wrong).toBe(true)
    }
    await type('consent-typed', 'WS-FIN-0142')
    expect(allow().disabled).toBe(false)
    await press('Enter', {}, get('consent-typed'))
    expect(answers(host)).toEqual([])
    await click('consent-allow')
    expect(answers(host)).toEqual([{ id: prompt.id, digest: prompt.digest, allow: true, typed: 'WS-FIN-0142' }])
  })
  test('level 2 denies without a name', async () => {
    const host = await open({ prompt: promptHigh() })
    await type('consent-typed', 'WS')
    await click('consent-deny')
    expect(answers(host)).toMatchObject([{ allow: false, typed: '' }])
  })
  test('level 2 without a target cannot be allowed', async () => {
    await open({ prompt: { ...promptHigh(), target: '' } })
    await pass(5000)
    expect(allow().disabled).toBe(true)
  })
  test.each(['WS-FIN-0142', ''])('level 3 cannot be allowed here, target %j', async (target) => {
    await open({ prompt: { ...promptTwo(), target } })
    await pass(5000)
    expect(allow().disabled).toBe(true)
    expect(find('consent-typed')).toBeNull()
    expect(get('consent').textContent).toContain('second approver')
  })
  test('a prompt that cannot be drawn can only be denied', async () => {
    const prompt = { ...promptWrite(), args: null as unknown as [] }
    const host = await open({ prompt })
    expect(find('consent-allow')).toBeNull()
    expect(get('consent').textContent).toContain('CRD-UI-03')
    expect(document.activeElement).toBe(get('consent-deny'))
    await press('Escape')
    expect(answers(host)).toEqual([{ id: prompt.id, digest: prompt.digest, allow: false, typed: '' }])
  })
  test('practice says so', async () => {
    await open({ prompt: promptPractice() })
    expect(get('consent').textContent).toContain('Practice')
  })
  test('the time left is spoken at 60, 30 and 10 seconds; then it closes', async () => {
    const host = await open({ prompt: promptWrite() })
    const spoken = (): string => get('countdown-spoken').textContent ?? ''
    expect(spoken()).toBe('')
    await pass(48_000)
    expect(spoken()).toBe('Denied in 60 seconds')
    await pass(30_000)
    expect(spoken()).toBe('Denied in 30 seconds')
    await pass(20_000)
    expect(spoken()).toBe('Denied in 10 seconds')
    await pass(10_000)
    expect(find('consent')).toBeNull()
    expect(answers(host)).toEqual([])
  })
  test('a refused answer keeps the dialog, on Deny', async () => {
    const host = await open({ prompt: promptWrite() })
    await pass(800)
    host.failing = { code: 'CRD-CON-03', what: 'The prompt has changed.', means: '', fix: '' }
    await click('consent-allow')
    expect(find('consent')).not.toBeNull()
    expect(document.activeElement).toBe(get('consent-deny'))
    expect(get('consent').textContent).toContain('CRD-CON-03')
  })
  test('messages stay behind the dialog until it is answered', async () => {
    const host = await open()
    app.toast('ok', 'edr is approved.')
    host.show({ prompt: promptWrite() })
    await settle()
    expect(document.querySelector<HTMLElement>('.toasts')?.inert).toBe(true)
    await pass(9000)
    expect(document.querySelector('.toasts')?.textContent).toContain('edr is approved.')
    await click('consent-deny')
    await pass(9000)
    expect(document.querySelector('.toasts')?.textContent).not.toContain('edr is approved.')
  })
  test('Tab stays inside; the focus goes back where it was', async () => {
    const host = await open()
    get('nav-activity').focus()
    host.show({ prompt: promptWrite() })
    await settle()
    await pass(800)
    allow().focus()
    await press('Tab')
    expect(get('consent').contains(document.activeElement)).toBe(true)
    await press('Tab', { shiftKey: true })
    expect(document.activeElement).toBe(allow())
    await click('consent-deny')
    expect(document.activeElement).toBe(get('nav-activity'))
  })
  test('no key outside the dialog reaches the screens', async () => {
    await open({ prompt: promptWrite() })
    await press('4', { ctrlKey: true })
    expect(get('nav-activity').getAttribute('aria-current')).toBeNull()
    await fireEvent.keyDown(window, { key: '?' })
    expect(document.querySelector('[role="dialog"]')).toBeNull()
  })
})
