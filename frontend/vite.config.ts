import './node20.ts'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { svelteTesting } from '@testing-library/svelte/vite'
import { defineConfig } from 'vitest/config'

export default defineConfig({
  plugins: [svelte(), svelteTesting()],
  build: {
    outDir: 'dist',
    // The one engine is WebKitGTK 2.46 or newer; older targets would rewrite light-dark() in the styles.
    target: 'safari18',
    cssTarget: 'safari18',
    // The content security policy allows script and fonts from 'self' only, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  test: {
    environment: 'jsdom',
    include: ['src/**/*.test.ts'],
    setupFiles: ['src/dev/test-setup.ts'],
    restoreMocks: true,
    // The style sheets are read as text by look.test.ts.
    css: true,
  },
})
