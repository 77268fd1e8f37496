// jsdom lacks what no unit test needs to measure: layout observers.
import { afterEach } from 'vitest'
import { cleanup } from '@testing-library/svelte'

afterEach(cleanup)
