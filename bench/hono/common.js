import process from 'node:process'
import { createInterface } from 'node:readline'

// echo is the endpoint that all runtimes serve.
export const echo = () => ({
  onMessage(event, ws) {
    ws.send(event.data)
  },
})

// control prints the address, then obeys the lines that come in until there are no more.
export function control(port, gc) {
  console.log(`127.0.0.1:${port}`)
  const lines = createInterface({ input: process.stdin })
  lines.on('line', (line) => {
    if (line !== 'gc') throw new Error(`unknown command ${line}`)
    gc()
    console.log('ok')
  })
  lines.on('close', () => process.exit(0))
}
