// Models of the stand-in host. It keeps no key, like the page.

import type { Bound, FoundModel, ModelsView, ModelView } from '../lib/types'

const model = (over: Partial<ModelView>): ModelView => {
  const m: ModelView = { name: 'qwen', kind: 'openai', url: 'http://127.0.0.1:11434/v1/', model: 'qwen3:14b', local: false, hasKey: false, keyName: '', header: '', images: false, reasons: false, context: 0, output: 0, prices: { input: 0, cached: 0, output: 0 }, ...over }
  const { protocol, host, hostname } = new URL(m.url)
  return { ...m, local: ['localhost', '127.0.0.1', '[::1]'].includes(hostname), keyName: `model key for ${protocol}//${host}` }
}
export const qwen = model({ context: 40_960 })
export const sonnet = model({ name: 'sonnet', kind: 'anthropic', url: 'https://api.anthropic.com/', model: 'claude-sonnet-4-6', hasKey: true, images: true, reasons: true, context: 200_000, output: 32_000, prices: { input: 3, cached: 0.3, output: 15 } })
export const haiku = model({ name: 'haiku', kind: 'anthropic', url: 'https://api.anthropic.com/', model: 'claude-haiku-4-5', hasKey: true, images: true, context: 200_000, prices: { input: 1, cached: 0.1, output: 5 } })
export const lab = model({ name: 'lab', url: 'https://llm.corp.example:8443/v1/', model: 'mistral-large' })
export const models: ModelView[] = [qwen, sonnet, haiku, lab]
/** More than fit a window, with names as long as they may be. */
export const manyModels = (): ModelView[] => [
  ...models, model({ name: 'the-model-of-the-night-shift-that-reads-every-alert-before-anyone', url: 'https://a-gateway-with-a-long-name.intelligence.corp.example/v1/', model: `bedrock/eu-central-1/${'anthropic.claude-sonnet-4-6-20260217-'.repeat(3)}v1:0`, hasKey: true, prices: { input: 0.0035, cached: 0.0003, output: 1250 } }),
  ...Array.from({ length: 20 }, (_, i) => model({ name: `small-${i + 1}`, model: `gemma3:${i + 1}b`, context: 8192 })),
]
export const found: FoundModel[] = [
  { place: 'LM Studio', url: 'http://127.0.0.1:1234/v1/', model: 'openai/gpt-oss-20b' }, { place: 'Ollama', url: 'http://127.0.0.1:11434/v1/', model: 'qwen3:14b' }, { place: 'Ollama', url: 'http://127.0.0.1:11434/v1/', model: 'qwen3:8b' },
]

export interface ModelStand { models: ModelsView; found: FoundModel[]; looking: Promise<void> }

type Acts = Pick<Bound, 'Models' | 'SetModel' | 'SetModelKey' | 'RemoveModel' | 'FindModels' | 'SetLocalModels'>
type Log = <T>(entry: [keyof Bound, ...unknown[]], value: T | (() => T)) => Promise<T>

export function modelActs(at: () => ModelStand, log: Log): Acts {
  const put = (all: ModelView[]): void => { at().models = { ...at().models, models: all } }
  const all = (): ModelView[] => at().models.models
  return {
    Models: () => log(['Models'], () => at().models),
    SetModel: (m) => log(['SetModel', { ...m, prices: { ...m.prices } }], () => {
      const made = model({ ...m })
      made.hasKey = all().some((o) => o.hasKey && o.keyName === made.keyName)
      put(all().some((o) => o.name === m.name) ? all().map((o) => (o.name === m.name ? made : o)) : [...all(), made])
    }),
    SetModelKey: (k) => log(['SetModelKey', { ...k }], () => {
      const keyName = all().find((m) => m.name === k.name)?.keyName
      put(all().map((m) => (m.keyName === keyName ? { ...m, hasKey: true } : m)))
    }),
    RemoveModel: (n) => log(['RemoveModel', n], () => put(all().filter((m) => m.name !== n))),
    FindModels: async () => { await at().looking; return log(['FindModels'], () => at().found) },
    SetLocalModels: (only) => log(['SetLocalModels', only], () => { at().models = { ...at().models, localOnly: only } }),
  }
}
