// No link is live. A followed link would replace the whole window, so clicks on any address are taken and put to the
// person first; nothing may be dropped on the window either.

export function guardLinks(root: EventTarget, ask: (url: string) => void): () => void {
  const click = (e: Event): void => {
    const anchor = e.target instanceof Element ? e.target.closest('a[href], area[href]') : null
    const href = anchor?.getAttribute('href') ?? anchor?.getAttribute('xlink:href') ?? ''
    if (!anchor || href.startsWith('#')) return
    e.preventDefault()
    e.stopPropagation()
    ask(href)
  }
  const refuse = (e: Event): void => e.preventDefault()
  root.addEventListener('click', click, true)
  root.addEventListener('auxclick', click, true)
  root.addEventListener('dragover', refuse)
  root.addEventListener('drop', refuse)
  root.addEventListener('submit', refuse)
  return () => {
    root.removeEventListener('click', click, true)
    root.removeEventListener('auxclick', click, true)
    root.removeEventListener('dragover', refuse)
    root.removeEventListener('drop', refuse)
    root.removeEventListener('submit', refuse)
  }
}
