import { mount } from 'svelte'
import './app.css'
import App from './App.svelte'
import { app } from './lib/app.svelte'
import { applyLook } from './lib/look'

applyLook(app.theme, app.density)
const target = document.getElementById('app')
if (!target) throw new Error('index.html has no #app')

if (import.meta.env.DEV && !window.go) {
  // A browser has no host behind it: a stand-in with made-up data takes its place. Production builds leave this out.
  const { install, play } = await import('./dev/install')
  install()
  mount(App, { target })
  await play()
} else {
  mount(App, { target })
}
