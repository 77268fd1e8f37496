// Theme and density: the person's choice, kept in this window's storage. Neither is a secret nor leaves the computer.

export type Theme = 'desktop' | 'light' | 'dark'
export type Density = 'compact' | 'comfortable'

const read = (key: string): string => {
  try {
    return localStorage.getItem(key) ?? ''
  } catch {
    return '' // storage may be switched off; the desktop's theme is a fine default
  }
}

export function rememberedTheme(): Theme {
  const t = read('theme')
  return t === 'light' || t === 'dark' ? t : 'desktop'
}
export const rememberedDensity = (): Density => (read('density') === 'comfortable' ? 'comfortable' : 'compact')

/** Sets the attributes that tokens.css looks at, and remembers the choice. */
export function applyLook(theme: Theme, density: Density): void {
  const root = document.documentElement
  if (theme === 'desktop') root.removeAttribute('data-theme')
  else root.dataset['theme'] = theme
  if (density === 'compact') root.removeAttribute('data-density')
  else root.dataset['density'] = density
  try {
    localStorage.setItem('theme', theme)
    localStorage.setItem('density', density)
  } catch {
    // The choice then lasts until the window closes.
  }
}
