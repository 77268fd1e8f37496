// Takes down what a test has put up; and says plainly that jsdom has no canvas, which axe asks for.
import { afterEach } from 'vitest'
import { cleanup } from '@testing-library/svelte'

afterEach(cleanup)
HTMLCanvasElement.prototype.getContext = () => null
