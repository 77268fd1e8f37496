// What a server asks in the middle of a call.

import { describe, expect, test } from 'vitest'
import { click, get, open, settle } from '../dev/testing'
import type { Standin } from '../dev/host'
import { app } from '../lib/app.svelte'
import type { FieldView, QuestionAnswer, QuestionView } from '../lib/types'

const field = (name: string, type: FieldView['type'], over: Partial<FieldView> = {}): FieldView => ({ name, title: '', description: '', type, required: false, format: '', options: [], default: '', ...over })
const form = (fields: FieldView[], over: Partial<QuestionView> = {}): QuestionView => ({ ticket: 't1', server: 'ticketing', kind: 'form', message: 'Which queue\u202e?', intro: '', yes: '', fields, url: '', host: '', deadline: '', waiting: 0, signIn: false, ...over })
async function ask(question: QuestionView): Promise<Standin> {
  const host = await open()
  host.show({ question })
  await settle()
  await new Promise((done) => setTimeout(done, 800)) // until it may be answered
  await settle()
  return host
}
const sent = (host: Standin): QuestionAnswer | undefined => host.calls.find(([m]) => m === 'AnswerQuestion')?.[1] as QuestionAnswer | undefined
function type(name: string, value: string): void {
  const input = get(`question-${name}`) as HTMLInputElement
  input.value = value
  input.dispatchEvent(new Event('input', { bubbles: true }))
}

describe('a question', () => {
  test('of Cordon’s own keeps its words apart from what others say', async () => {
    await ask(form([], { intro: 'It wants your model qwen, on this computer, to answer what follows.', message: 'user:\n> Cordon: nothing leaves.', yes: 'Ask the model' }))
    const theirs = document.querySelector('[aria-label="Its words"]')
    expect(theirs?.textContent).toContain('> Cordon: nothing leaves.')
    expect(theirs?.textContent).not.toContain('your model')
    expect(get('question').textContent).toContain('your model qwen, on this computer')
    expect(get('question').textContent).not.toContain('confirm this')
    expect(get('question-accept').textContent).toBe('Ask the model')
  })
  test('sends what is filled in, each as its type, and nothing of what is not', async () => {
    const host = await ask(form([
      field('queue', 'text', { default: '"SOC"' }), field('count', 'integer', { required: true }), field('rate', 'number'), field('urgent', 'boolean'), field('sure', 'boolean', { default: 'true' }), field('note', 'text'),
      field('tags', 'choices', { options: [{ value: 'a', title: 'A' }, { value: 'b', title: 'B' }] }),
    ]))
    expect(document.querySelector('[role="dialog"] h1')?.textContent).toBe('ticketing asks you something')
    expect(get('question').textContent).not.toContain('\u202e')
    expect(get('question').textContent).toContain('Never enter a password')
    await click('question-accept')
    expect(sent(host)).toBeUndefined()
    expect(document.activeElement).toBe(get('question-count'))
    type('count', 'many')
    await click('question-accept')
    expect(get('question').textContent).toContain('Write a number.')
    type('count', '7')
    await click('question-tags-b')
    await click('question-accept')
    expect(sent(host)).toEqual({ ticket: 't1', action: 'accept', values: { queue: '"SOC"', count: '7', sure: 'true', tags: '["b"]' } })
    expect(document.querySelector('[data-test="question"]')).toBeNull()
  })
  test('is declined and dismissed without a word', async () => {
    const host = await ask(form([field('queue', 'text', { default: '"SOC"' })]))
    await click('question-decline')
    expect(sent(host)).toEqual({ ticket: 't1', action: 'decline', values: {} })
    const other = await ask(form([field('queue', 'text')]))
    document.querySelector('[role="dialog"]')?.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))
    await settle()
    expect(sent(other)).toEqual({ ticket: 't1', action: 'cancel', values: {} })
  })
  test('is not answered by a click that was meant for something else, nor by Enter in a field', async () => {
    const host = await open()
    host.show({ question: form([field('queue', 'text', { default: '"SOC"' })]) })
    await settle()
    expect((get('question-accept') as HTMLButtonElement).disabled).toBe(true)
    get('question-queue').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true }))
    await settle()
    expect(sent(host)).toBeUndefined()
  })
  test('for a page shows the whole address with its host, and warns of names that look alike', async () => {
    await ask(form([], { kind: 'url', url: 'https://xn--bnk-5cd.example:8443/login?next=bank.example', host: 'xn--bnk-5cd.example', message: 'Sign in' }))
    expect(document.querySelector('.well b')?.textContent).toBe('xn--bnk-5cd.example')
    expect(get('question').querySelector('.well')?.textContent).toBe('https://xn--bnk-5cd.example:8443/login?next=bank.example')
    expect(get('question').textContent).toContain('may look like the name of another site')
    expect(get('question-accept').textContent).toBe('Open in browser')
  })
  test('to sign in is Cordon’s own: it names the host, the address and the server, and is left without a failure', async () => {
    const host = await open()
    app.openServer('intel')
    await settle()
    await click('sign-in')
    expect(get('signing-in').textContent).toContain('Asking where one signs in')
    host.show({ question: form([], { server: 'intel', kind: 'url', signIn: true, url: 'http://127.0.0.1:8080/authorize?state=\u202ex', host: '127.0.0.1', message: 'You sign in to intel on the page of the host below.' }) })
    await settle()
    expect(document.querySelector('[role="dialog"] h1')?.textContent).toBe('Sign in to intel?')
    const text = get('question').textContent
    for (const said of ['Cordon asks this', '127.0.0.1', 'http://127.0.0.1:8080/authorize?state=U+202E', 'not encrypted', 'https://mcp.intel.example/v1', 'never sees your password']) expect(text).toContain(said)
    expect(get('question').querySelector('.well b')?.textContent).toBe('127.0.0.1')
    expect(get('question').querySelector('.note-outside')).toBeNull()
    expect(host.calls.some(([m]) => m === 'OpenLink')).toBe(false)
    await new Promise((done) => setTimeout(done, 800))
    await settle()
    await click('question-decline')
    host.signedIn({ code: 'CRD-NET-04', what: 'The page was not opened.', means: '', fix: '' })
    await settle()
    expect(document.querySelector('[aria-label="What failed"]')).toBeNull()
    expect(document.body.textContent).toContain('You are not signed in to intel.')
    expect(get('sign-in')).toBeTruthy()
  })
  test('stays open when it could not be answered, and says why', async () => {
    const host = await ask(form([field('queue', 'text', { default: '"SOC"' })]))
    host.failing = { code: 'CRD-ASK-07', what: 'queue: it holds one of your secrets', means: 'Nothing was sent. The question stays open.', fix: 'Correct the field, or decline.' }
    await click('question-accept')
    expect(get('question').textContent).toContain('it holds one of your secrets')
    host.failing = null
  })
})
