// Models: which are defined, their keys, which may be asked, and what this computer offers.

import { describe, expect, test } from 'vitest'
import type { Standin } from '../dev/host'
import { found, haiku, lab, manyModels, models as standard, qwen, sonnet } from '../dev/models'
import { choose, click, expectAccessible, find, get, open, press, settle, type } from '../dev/testing'
import { app } from '../lib/app.svelte'
import { draftOf, emptyModel, headers, keyProblem, modelFrom, modelOf, modelProblems, nameFor, placeProblem, priceOf, samePlace, serviceAt, services, type ModelDraft } from '../lib/models'
import type { Failure, ModelView, Snapshot } from '../lib/types'

const locked: Partial<Snapshot> = { keyring: { state: 'locked', provider: 'GNOME Keyring', detail: 'Locked.', fix: 'Unlock it.' } }
const fails: Failure = { code: 'CRD-MDL-07', what: 'the keyring is locked', means: 'Nothing was changed.', fix: 'Unlock it.' }
const page = (): string => document.querySelector('.set-body')?.textContent?.replace(/\s+/g, ' ') ?? ''
const dialog = (): HTMLElement | null => document.querySelector('[role="dialog"]')
const value = (test: string): string => (get(test) as HTMLInputElement).value
const sent = (host: Standin, method: string): unknown => host.calls.findLast(([m]) => m === method)?.[1]
const calls = (host: Standin, method: string): number => host.calls.filter(([m]) => m === method).length
const says = (field: string): string => document.getElementById(`model-${field}-e`)?.textContent ?? ''

async function show(models: ModelView[] = standard, over: Partial<Snapshot> = {}, localOnly = false): Promise<Standin> {
  const host = await open(over)
  host.models = { models, localOnly }
  app.openSettings('models')
  await settle()
  return host
}

describe('a name for a model', () => {
  test.each([
    ['qwen3:8b', [], 'qwen3-8b'], ['openai/GPT-OSS 20b', [], 'gpt-oss-20b'], ['qwen3:8b', ['qwen3-8b'], 'qwen3-8b-2'], ['qwen3:8b', ['qwen3-8b', 'qwen3-8b-2'], 'qwen3-8b-3'], ['--a__', [], 'a'], ['…', [], ''], ['x'.repeat(200), [], 'x'.repeat(60)],
  ])('%j beside %j', (model, taken, name) => expect(nameFor(model, taken)).toBe(name))
})

describe('a place of models', () => {
  test.each([
    ['https://llm.example.org/v1/', ''], [' https://llm.example.org:8443 ', ''], ['http://127.0.0.1:8080/v1/', ''], ['http://localhost:1', ''], ['http://[::1]:1/', ''], ['https://name.openai.azure.com/openai/v1/', ''],
    ['', 'required'], ['llm.example.org', 'begins with https://'], ['HTTPS://llm.example.org', 'begins with https://'], ['http://llm.example.org/', 'not encrypted'], ['https://me:pw@llm.example.org/', 'no place in an address'],
    ['https://llm.example.org/#a', 'after #'], ['https://llm.example.org/?a', 'after ?'], ['https://аnthropic.com/', 'xn--'], ['https://a b/', 'Without spaces'], ['https://:1/', 'no address'], ['https://NAME.openai.azure.com/openai/v1/', 'in place of NAME'],
  ])('%j', (address, problem) => {
    expect(placeProblem(address)).toContain(problem)
    if (!problem) expect(placeProblem(address)).toBe('')
  })
  test('is one by scheme, host and port', () => {
    expect([samePlace('https://a.example/v1/', 'https://a.example:443/v2/'), samePlace('https://a.example/', 'https://a.example:444/'), samePlace('x', 'https://a.example/')]).toEqual([true, false, false])
  })
  test('is known by the service it is of', () => {
    expect([sonnet, qwen, lab, { ...lab, url: 'https://soc.openai.azure.com/openai/v1/' }].map(serviceAt)).toEqual(['anthropic', 'ollama', 'other', 'azure'])
    expect(services.filter((s) => s.url && s.id !== 'azure').map((s) => placeProblem(s.url)).join('')).toBe('')
  })
})

describe('what is sent of a model', () => {
  const draft = (over: Partial<ModelDraft>): ModelDraft => ({ ...emptyModel(), model: 'm', name: 'm', ...over })
  test('has the wire format of its service, a slash at the end and whole numbers', () => {
    expect(modelOf(draft({ url: ' https://gw.example/v1 ', context: '200,000', output: '16 000', input: '3', cached: '', written: '15' }))).toMatchObject({ kind: 'anthropic', url: 'https://gw.example/v1/', context: 200_000, output: 16_000, prices: { input: 3, cached: 3, output: 15 }, hasKey: false, keyName: '' })
    expect(modelOf(draft({ service: 'ollama', input: '2', cached: '0', written: '4' }))).toMatchObject({ kind: 'openai', context: 0, prices: { input: 2, cached: 0, output: 4 } })
  })
  test.each([sonnet, qwen, lab])('$name comes back as it went', (m) => expect(modelOf(draftOf(m))).toEqual({ ...m, hasKey: false, keyName: '' }))
  test('is refused by field', () => {
    const wrong = (over: Partial<ModelDraft>, taken: string[] = []): string => Object.entries(modelProblems(draft(over), taken)).filter(([, text]) => text).map(([field]) => field).join(' ')
    expect(wrong({})).toBe('')
    expect(wrong({ name: 'My Model', model: '', url: 'x' })).toBe('url model name')
    expect(wrong({}, ['m'])).toBe('name')
    expect(wrong({ context: '-1', output: '1.5' })).toBe('context output')
    expect([wrong({ context: '16,777,216' }), wrong({ context: '16,777,217' }), wrong({ context: '1,2' })]).toEqual(['', 'context', 'context'])
    expect(wrong({ input: '3' })).toBe('written')
    expect(wrong({ cached: '3' })).toBe('input written')
    expect(wrong({ input: '2,5', cached: 'x', written: '1e3' })).toBe('input written cached')
    expect(wrong({ input: '0', written: '2.50' })).toBe('')
  })
  test('when it was found, has a name that no other has', () => expect(modelFrom(found[2]!, ['qwen3-8b'])).toMatchObject({ name: 'qwen3-8b-2', model: 'qwen3:8b', url: 'http://127.0.0.1:11434/v1/', kind: 'openai', local: true }))
  test('shows its price in dollars', () => expect([sonnet.prices, { input: 0.25, cached: 0, output: 1250 }, { input: 0.0035, cached: 0, output: 0.5 }, qwen.prices].map(priceOf)).toEqual(['$3 in, $15 out', '$0.25 in, $1,250 out', '$0.0035 in, $0.50 out', '']))
  test('is a key only if it is one word', () => expect(['sk-1', ' sk-1\n', '', 'two words', 'käy'].map((k) => keyProblem(k) === '')).toEqual([true, true, false, false, false]))
  test('may have its key in these headers', () => expect(headers).toEqual(['', 'Authorization', 'X-Api-Key', 'Api-Key']))
})

describe('axe finds nothing', () => {
  const views: [string, () => Promise<unknown>][] = [
    ['empty', () => show([])], ['one', () => show([qwen])], ['many', () => show(manyModels())], ['keyring locked', () => show(standard, locked)], ['local only', () => show(standard, {}, true)],
    ['failing', async () => { const host = await show(); host.failing = fails; app.page = 'about'; await settle(); app.page = 'models'; await settle(); expect(find('models-again')).toBeTruthy() }],
    ['looking', async () => { const host = await show(); host.looking = new Promise(() => {}); await click('models-find') }],
    ['found', async () => { await show(); await click('models-find') }],
    ['add, wrong', async () => { await show(); await click('model-add'); await click('m-save') }],
    ['edit', async () => { await show(); await click('model-edit-sonnet'); await type('m-url', 'https://gw.example/') }],
    ['key', async () => { await show(standard, locked); await click('model-key-sonnet') }],
    ['remove', async () => { await show(); await click('model-remove-sonnet') }],
  ]
  test.each(views)('%s', async (_name, go) => {
    await go()
    await expectAccessible()
  }, 20_000)
})

describe('the list of models', () => {
  test('is second in Settings', async () => {
    await show()
    expect([...document.querySelectorAll('.set-nav button')].slice(0, 2).map((b) => b.textContent)).toEqual(['Secrets', 'Models'])
  })
  test('says of each where it is, whether its key is kept and what it costs', async () => {
    await show()
    expect(get('model-qwen').textContent).toContain('on this computer127.0.0.1:11434')
    for (const said of ['claude-sonnet-4-6', '200,000 tokens, images, thinks first', 'api.anthropic.com', 'kept', '$3 in, $15 out']) expect(get('model-sonnet').textContent).toContain(said)
    for (const said of ['llm.corp.example:8443', 'none yet', 'not known']) expect(get('model-lab').textContent).toContain(said)
    expect(find('keyring-note')).toBeNull()
  })
  test('shows what does not show in a name', async () => {
    await show([{ ...lab, model: 'mistral\u202Elarge' }])
    expect(get('model-lab').textContent).toContain('mistralU+202Elarge')
  })
  test('that is empty says what works without, and what to do', async () => {
    await show([])
    for (const said of ['Everything but the chat works without one', 'Look for one on this computer', 'add one of a service']) expect(get('models-empty').textContent).toContain(said)
    expect(find('model-add')).toBeTruthy()
    expect(find('models-find')).toBeTruthy()
  })
  test('with a locked keyring says which models work all the same', async () => {
    const host = await show(standard, locked)
    expect(page()).toContain('The keyring is locked.')
    expect(page()).toContain('Models without a key work all the same.')
    expect(get('model-sonnet').textContent).toContain('locked')
    await click('session-secrets')
    expect(host.calls.map(([m]) => m)).toContain('UseSessionSecrets')
    expect(get('model-sonnet').textContent).toContain('kept')
    expect(page()).toContain('is not seen until Cordon is started again')
  })
  test('that cannot be had says so, offers nothing that needs it, and can be tried again', async () => {
    const host = await open()
    host.failing = fails
    app.openSettings('models')
    await settle()
    expect(page()).toContain('CRD-MDL-07')
    for (const absent of ['models-empty', 'model-add', 'models-local', 'models-find']) expect(find(absent)).toBeNull()
    host.failing = null
    host.models = { models: [qwen], localOnly: false }
    await click('models-again')
    expect(find('model-qwen')).toBeTruthy()
    expect(page()).not.toContain('CRD-MDL-07')
  })
})

describe('only models on this computer', () => {
  test('is a switch that says what it means', async () => {
    const host = await show()
    const it = get('models-local')
    expect([it.getAttribute('role'), it.getAttribute('aria-checked')]).toEqual(['switch', 'false'])
    expect(document.getElementById(it.getAttribute('aria-describedby') ?? '')?.textContent).toContain('nothing is sent to a model on another computer')
    expect(page()).toContain('3 of 4 models are elsewhere.')
    await click('models-local')
    expect(sent(host, 'SetLocalModels')).toBe(true)
    expect(it.getAttribute('aria-checked')).toBe('true')
    expect(get('model-sonnet').textContent).toContain('not asked')
    expect(get('model-qwen').textContent).not.toContain('not asked')
    expect(document.body.textContent).toContain('Only models on this computer are asked now.')
    await click('models-local')
    expect(sent(host, 'SetLocalModels')).toBe(false)
    expect(get('model-sonnet').textContent).not.toContain('not asked')
  })
  test('stays as the host has it when that fails', async () => {
    const host = await show()
    const set = host.SetLocalModels
    host.SetLocalModels = () => Promise.reject(fails)
    await click('models-local')
    expect(get('models-local').getAttribute('aria-checked')).toBe('false')
    expect(document.body.textContent).toContain('CRD-MDL-07')
    host.SetLocalModels = set
    await click('models-local')
    expect(get('models-local').getAttribute('aria-checked')).toBe('true')
  })
})

describe('models on this computer', () => {
  test('are looked for when asked, and one click adds one', async () => {
    const host = await show([qwen])
    expect(calls(host, 'FindModels')).toBe(0)
    let done = (): void => {}
    host.looking = new Promise((d) => { done = d })
    await click('models-find')
    await click('models-find')
    expect(get('models-find').textContent).toBe('Looking')
    expect(page()).toContain('Asking Ollama, LM Studio, llama.cpp, vLLM, Jan and GPT4All')
    done()
    await settle()
    expect(calls(host, 'FindModels')).toBe(1)
    expect(get('found-0').textContent).toContain('the port of LM Studio')
    expect(get('found-1').textContent).toContain('added as qwen')
    get('found-add-2').focus()
    await click('found-add-2')
    expect(sent(host, 'SetModel')).toMatchObject({ name: 'qwen3-8b', kind: 'openai', url: 'http://127.0.0.1:11434/v1/', model: 'qwen3:8b' })
    expect(get('found-2').textContent).toContain('added as qwen3-8b')
    expect(find('model-qwen3-8b')).toBeTruthy()
    expect(document.activeElement).toBe(get('models-find'))
    expect(dialog()).toBeNull()
  })
  test('that do not answer are named with their ports', async () => {
    const host = await show()
    host.found = []
    await click('models-find')
    for (const said of ['Ollama (11434)', 'LM Studio (1234)', 'llama.cpp (8080)', 'vLLM (8000)', 'Jan (1337)', 'GPT4All (4891)', 'look again']) expect(get('found-none').textContent).toContain(said)
  })
  test('may fail to be looked for, and to be added', async () => {
    const host = await show([])
    host.failing = fails
    await click('models-find')
    expect(page()).toContain('CRD-MDL-07')
    host.failing = null
    await click('models-find')
    expect(page()).not.toContain('CRD-MDL-07')
    host.SetModel = () => Promise.reject(fails)
    await click('found-add-0')
    expect(document.body.textContent).toContain('CRD-MDL-07')
    expect(find('found-add-0')).toBeTruthy()
  })
})

describe('a new model', () => {
  test('takes the address of its service, and a name from what it is called there', async () => {
    const host = await show()
    await click('model-add')
    expect(document.activeElement).toBe(get('m-service'))
    for (const [id, address] of [['openai', 'https://api.openai.com/v1/'], ['lm-studio', 'http://127.0.0.1:1234/v1/'], ['other', ''], ['llama.cpp', 'http://127.0.0.1:8080/v1/'], ['ollama', 'http://127.0.0.1:11434/v1/']] as const) {
      await choose('m-service', id)
      expect(value('m-url')).toBe(address)
    }
    expect(dialog()?.textContent).toContain('nothing leaves it')
    await type('m-model', 'qwen3:8b')
    expect(value('m-name')).toBe('qwen3-8b')
    await type('m-name', 'small')
    await type('m-model', 'qwen3:4b')
    expect(value('m-name')).toBe('small')
    await type('m-context', '40,960')
    await click('m-images')
    await click('m-save')
    expect(sent(host, 'SetModel')).toMatchObject({ name: 'small', kind: 'openai', url: 'http://127.0.0.1:11434/v1/', model: 'qwen3:4b', context: 40_960, images: true, reasons: false, prices: { input: 0, cached: 0, output: 0 } })
    expect(dialog()).toBeNull()
    expect(find('model-small')).toBeTruthy()
    expect(document.body.textContent).toContain('small is defined.')
  })
  test('of a service leads on to its key', async () => {
    const host = await show([])
    get('model-add').focus()
    await click('model-add')
    await type('m-model', 'claude-sonnet-4-6')
    await click('m-reasons')
    await type('m-input', '3')
    await type('m-written', '15')
    await click('m-save')
    expect(sent(host, 'SetModel')).toMatchObject({ name: 'claude-sonnet-4-6', kind: 'anthropic', url: 'https://api.anthropic.com/', reasons: true, prices: { input: 3, cached: 3, output: 15 } })
    expect(dialog()?.textContent).toContain('Key for claude-sonnet-4-6')
    expect(document.activeElement).toBe(get('key-value'))
    await press('Escape')
    expect(dialog()).toBeNull()
    expect(document.activeElement).toBe(get('model-add'))
    expect(get('model-claude-sonnet-4-6').textContent).toContain('none yet')
  })
  test('at a place whose key is kept needs none', async () => {
    await show()
    await click('model-add')
    await type('m-model', 'claude-opus')
    await click('m-save')
    expect(dialog()).toBeNull()
    expect(get('model-claude-opus').textContent).toContain('kept')
  })
  test('says what is wrong at the field, and sends nothing', async () => {
    const host = await show()
    await click('model-add')
    await choose('m-service', 'azure')
    await type('m-name', 'qwen')
    await type('m-context', 'much')
    await type('m-input', '3')
    await click('m-save')
    expect(calls(host, 'SetModel')).toBe(0)
    expect(says('url')).toContain('in place of NAME')
    expect(says('model')).toContain('What the service calls it')
    expect(says('name')).toContain('A model has this name already')
    expect(says('context')).toContain('A whole number')
    expect(says('written')).toContain('Both prices, or none')
    expect(get('m-name').getAttribute('aria-invalid')).toBe('true')
    expect(document.activeElement).toBe(get('m-url'))
    await type('m-url', 'https://soc.openai.azure.com/openai/v1/')
    expect(says('url')).toBe('')
  })
  test('that is refused stays in the form, with the reason', async () => {
    const host = await show()
    await click('model-add')
    await type('m-model', 'x')
    host.SetModel = () => Promise.reject({ ...fails, code: 'CRD-MDL-02', what: 'context: is too large' } satisfies Failure)
    await click('m-save')
    expect(dialog()?.textContent).toContain('CRD-MDL-02')
    expect(value('m-model')).toBe('x')
    expect(get('m-save').getAttribute('aria-disabled')).toBe('false')
  })
  test('elsewhere says that it is not asked while only this computer’s are', async () => {
    await show(standard, {}, true)
    await click('model-add')
    expect(dialog()?.textContent).toContain('Not now: only models on this computer are asked.')
  })
})

describe('a model that is opened', () => {
  test('has all that is known of it, and keeps its name', async () => {
    const host = await show()
    get('model-edit-sonnet').focus()
    await click('model-edit-sonnet')
    expect((get('m-name') as HTMLInputElement).readOnly).toBe(true)
    expect(['m-service', 'm-url', 'm-model', 'm-name', 'm-context', 'm-output', 'm-input', 'm-cached', 'm-written', 'm-header'].map(value)).toEqual(['anthropic', 'https://api.anthropic.com/', 'claude-sonnet-4-6', 'sonnet', '200,000', '32,000', '3', '0.3', '15', ''])
    await type('m-model', 'claude-sonnet-5')
    expect(value('m-name')).toBe('sonnet')
    await choose('m-header', 'Authorization')
    await click('m-save')
    expect(sent(host, 'SetModel')).toMatchObject({ name: 'sonnet', model: 'claude-sonnet-5', header: 'Authorization', images: true, reasons: true, prices: { input: 3, cached: 0.3, output: 15 } })
    expect(document.body.textContent).toContain('sonnet was changed.')
    expect(document.activeElement).toBe(get('model-edit-sonnet'))
  })
  test('says what becomes of the key when its place changes', async () => {
    await show([sonnet, lab])
    await click('model-edit-sonnet')
    await type('m-url', 'https://api.anthropic.com/beta/')
    expect(find('m-moves')).toBeNull()
    await type('m-url', 'https://gw.example/')
    expect(get('m-moves').textContent).toContain('gw.example needs one of its own. The key for api.anthropic.com is removed')
    await choose('m-service', 'anthropic')
    expect(value('m-url')).toBe('https://api.anthropic.com/')
    await press('Escape')
    await click('model-edit-lab')
    await type('m-url', 'https://api.anthropic.com/')
    expect(get('m-moves').textContent).toContain('The one that is kept for api.anthropic.com is used.')
    expect(get('m-moves').textContent).not.toContain('removed')
  })
})

describe('a key', () => {
  test('says under which name it is kept and who shares it, and never comes back', async () => {
    const host = await show()
    get('model-key-sonnet').focus()
    await click('model-key-sonnet')
    for (const said of ['model key for https://api.anthropic.com', 'goes to api.anthropic.com only', 'All models there share it: sonnet and haiku.']) expect(get('key-means').textContent).toContain(said)
    const input = get('key-value') as HTMLInputElement
    expect([input.type, input.value, input.autocomplete]).toEqual(['password', '', 'new-password'])
    await type('key-value', ' sk-canary-4711 ')
    await press('Enter', {}, input)
    expect(sent(host, 'SetModelKey')).toEqual({ name: 'sonnet', value: 'sk-canary-4711' })
    expect(document.body.textContent).toContain('It goes to api.anthropic.com only.')
    expect(document.body.innerHTML).not.toContain('canary')
    expect(document.activeElement).toBe(get('model-key-sonnet'))
    await click('model-key-sonnet')
    expect(value('key-value')).toBe('')
  })
  test('that was refused is not kept in the field', async () => {
    const host = await show()
    await click('model-key-lab')
    expect(get('key-means').textContent).toContain('All models that you define there share it.')
    await type('key-value', 'sk-canary-4711')
    host.SetModelKey = (k) => { expect(k.value).toBe('sk-canary-4711'); return Promise.reject(fails) }
    await click('key-save')
    expect(dialog()?.textContent).toContain('CRD-MDL-07')
    expect(value('key-value')).toBe('')
    expect(document.body.innerHTML).not.toContain('canary')
    expect(get('model-lab').textContent).toContain('none yet')
  })
  test('that is none is said at the field, and not sent', async () => {
    const host = await show()
    await click('model-key-lab')
    await click('key-save')
    expect(says('key')).toContain('A key is required.')
    await type('key-value', 'two words')
    expect(says('key')).toContain('one word')
    expect(calls(host, 'SetModelKey')).toBe(0)
  })
  test('waits for a keyring, or for the choice to do without', async () => {
    const host = await show(standard, locked)
    await click('model-key-lab')
    expect((get('key-save') as HTMLButtonElement).disabled).toBe(true)
    await type('key-value', 'sk-1')
    await press('Enter', {}, get('key-value'))
    expect(calls(host, 'SetModelKey')).toBe(0)
    host.show({ keyring: { state: 'session', provider: '', detail: '', fix: '' } })
    await settle()
    await click('key-save')
    expect(sent(host, 'SetModelKey')).toEqual({ name: 'lab', value: 'sk-1' })
    expect(document.body.textContent).toContain('The key is kept until Cordon closes.')
  })
})

describe('removing a model', () => {
  test('says what becomes of its key, and is not done before it is confirmed', async () => {
    const host = await show([qwen, sonnet, haiku])
    await click('model-remove-qwen')
    expect(dialog()?.textContent).not.toContain('key')
    await press('Escape')
    await click('model-remove-haiku')
    expect(dialog()?.textContent).toContain('The key stays: another model at api.anthropic.com uses it.')
    expect(calls(host, 'RemoveModel')).toBe(0)
    await click('model-remove-confirm')
    expect(sent(host, 'RemoveModel')).toBe('haiku')
    expect(find('model-haiku')).toBeNull()
    expect(document.activeElement).toBe(get('model-add'))
    await click('model-remove-sonnet')
    expect(dialog()?.textContent).toContain('model key for https://api.anthropic.com, is removed from the keyring')
  })
  test('that fails says why, and the model stays', async () => {
    const host = await show()
    await click('model-remove-sonnet')
    host.RemoveModel = () => Promise.reject({ ...fails, code: 'CRD-MDL-04', what: 'The server tracker may have sonnet asked.' } satisfies Failure)
    await click('model-remove-confirm')
    expect(dialog()?.textContent).toContain('CRD-MDL-04')
    await press('Escape')
    expect(find('model-sonnet')).toBeTruthy()
  })
})
