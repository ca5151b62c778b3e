// A CRM's side of cxstream: keep a ranked work list, act on signals once, and write back what was done.
//
//   npm ci
//   npm start -- --kafka localhost:9092 --store crm.sqlite
//
// It does what ../crm_consumer.py does, in the same store; that file says why it is safe to stop and start it.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import kafkajs from 'kafkajs'
import type { Consumer, EachBatchPayload, KafkaConfig, KafkaMessage, SASLOptions } from 'kafkajs'
import { Store } from './store.ts'
import type { Signal, Work } from './store.ts'

const HELP = `usage: npm start -- [options]

Keep a ranked work list from churn-risk signals, act on each signal once, and write action_taken events back.

  --kafka HOST:PORT[,...]  default: localhost:9092
  --group GROUP            consumer group; default: crm-example
  --store FILE             default: crm.sqlite
  --prefix PREFIX          what the names of the topics begin with; default: nothing
  --list                   print the work list of the store and end
  --holdout SHARE          share of customers who are not acted on, where signals have no arm; 0..1, default: 0
  --max-age-days DAYS      signals written to Kafka earlier are listed, and not acted on; default: 7
  --quiet-seconds SECONDS  say that it waits when nothing has come for so long; default: 30
  --tls                    encrypt, with Node's authorities or --ca-file
  --ca-file FILE           authorities that sign the brokers' certificates (PEM)
  --cert-file FILE         certificate of this client (PEM)
  --key-file FILE          its key, where it is not in --cert-file
  --sasl MECHANISM         PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
  --user USER              the password is in CRM_KAFKA_PASSWORD or --password-file
  --password-file FILE

example:
  npm start -- --kafka localhost:9092 --store crm.sqlite
`
let started = false // what goes wrong before is said once, by main()
const POLL_MS = 500
const BUSY_MS = 5000 // signals that never stop coming do not delay actions for longer

function readOptions() {
  const text = (value: string) => ({ type: 'string' as const, default: value })
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      kafka: text('localhost:9092'),
      group: text('crm-example'),
      store: text('crm.sqlite'),
      prefix: text(''),
      list: { type: 'boolean' },
      holdout: text('0'),
      'max-age-days': text('7'),
      'quiet-seconds': text('30'),
      tls: { type: 'boolean' },
      'ca-file': { type: 'string' },
      'cert-file': { type: 'string' },
      'key-file': { type: 'string' },
      sasl: { type: 'string' },
      user: { type: 'string' },
      'password-file': { type: 'string' },
    },
  })
  const numbers = ['holdout', 'max-age-days', 'quiet-seconds'] as const
  const wrong = numbers.find((name) => !/^\d+(\.\d+)?$/.test(values[name]))
  if (wrong) throw new Error(`--${wrong} is a number, not ${values[wrong]}`)
  return values
}

type Options = ReturnType<typeof readOptions>

// Where Kafka is, and how to prove who this is.
function clientConfig(options: Options): KafkaConfig {
  const config: KafkaConfig = {
    clientId: 'crm-example',
    brokers: options.kafka.split(','),
    retry: { retries: 4 },
    logLevel: kafkajs.logLevel.ERROR,
    logCreator: () => seldom(({ log }) => started && console.error(`crm: ${log.message}${log['error'] ? `: ${log['error']}` : ''}`)),
  }
  const [ca, cert] = [options['ca-file'], options['cert-file']]
  if (options.tls || ca || cert) {
    const key = options['key-file'] ?? cert
    config.ssl = {
      ...(ca && { ca: readFileSync(ca) }),
      ...(cert && key && { cert: readFileSync(cert), key: readFileSync(key) }),
    }
  }
  if (options.sasl) {
    const file = options['password-file']
    const password = file ? readFileSync(file, 'utf8').replace(/[\r\n]+$/, '') : process.env['CRM_KAFKA_PASSWORD']
    if (!['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'].includes(options.sasl)) {
      throw new Error(`--sasl is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, not ${options.sasl}`)
    }
    if (!options.user || !password) {
      throw new Error('--sasl needs --user, and CRM_KAFKA_PASSWORD or --password-file')
    }
    config.sasl = { mechanism: options.sasl.toLowerCase(), username: options.user, password } as SASLOptions
  }
  return config
}

// Passes an entry on once in 30 s: clients try again many times a second.
function seldom<T extends { log: { message: string } }>(say: (entry: T) => void): (entry: T) => void {
  const said = new Map<string, number>()
  return (entry) => {
    const last = said.get(entry.log.message)
    if (last !== undefined && Date.now() - last < 30_000) return
    said.set(entry.log.message, Date.now())
    say(entry)
  }
}

// A churn-risk signal; undefined for another type of event. Throws where it is not what the schema says.
function readSignal(value: Buffer | null): Signal | undefined {
  const event = JSON.parse(value?.toString('utf8') ?? 'null')
  if (typeof event.type !== 'string') throw new Error('type is a string')
  if (event.type !== 'cx.signal.churn_risk.v1') return undefined
  const texts: unknown[] = [event.id, event.subject, event.data.change]
  if (event.data.change !== 'erased') {
    const numbers: unknown[] = [event.data.probability]
    for (const reason of event.data.reasons) {
      texts.push(reason.evidence)
      numbers.push(reason.contribution)
    }
    texts.push(event.data.level)
    if (!numbers.every((each) => typeof each === 'number')) throw new Error('probability is a number')
  }
  if (!texts.every((each) => typeof each === 'string')) throw new Error('id, subject, change and level are strings')
  return event
}

// One customer of the work list, for people; what others wrote has no control characters.
function line(work: Work): string {
  const worth = work.value_at_risk === null ? '' : `, ${work.value_at_risk.toFixed(2)} at risk`
  const risk = `${work.change}, ${work.level}, ${Math.round(work.probability * 100)}%${worth}`
  return `${work.subject}: ${risk}; do ${work.action}; because ${work.why || '-'}`.replace(/\p{C}/gu, '?')
}

class Crm {
  readonly #options: Options
  readonly #store: Store
  readonly #signals: string
  readonly #touchpoints: string
  readonly #kafka: kafkajs.Kafka
  readonly #consumer: Consumer
  #places: number[] = []
  // Offsets before these have been acted on, by whoever had the partition.
  #actedBefore = new Map<number, number>()
  #heardAt = Date.now()
  #actedAt = Date.now()
  #stopped = new AbortController()
  #failure: Error | undefined

  constructor(options: Options, store: Store) {
    this.#options = options
    this.#store = store
    this.#signals = `${options.prefix}cx.churn-risk`
    this.#touchpoints = `${options.prefix}cx.touchpoints`
    this.#kafka = new kafkajs.Kafka(clientConfig(options))
    // By default it reads only what is committed.
    this.#consumer = this.#kafka.consumer({ groupId: options.group, maxWaitTimeInMs: 1000 })
  }

  stop(failure?: Error): void {
    this.#failure ??= failure
    this.#stopped.abort()
  }

  async run(): Promise<void> {
    const admin = this.#kafka.admin()
    // KafkaJS' default partitioner is Kafka's own (murmur2): the event goes to the customer's partition.
    const producer = this.#kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
    try {
      await Promise.all([admin.connect(), producer.connect()])
      const there = new Set(await admin.listTopics())
      const missing = [this.#signals, this.#touchpoints].filter((each) => !there.has(each))
      if (missing.length) {
        throw new Error(
          `${missing.join(', ')}: no such topic, or this user may not see it; create topics with ` +
            `'cxstream topics --create', and print rights with ` +
            `'cxstream topics --acls --role crm --group ${this.#options.group}'`,
        )
      }
      await this.#read(admin)
      started = true
      console.log(`reading ${this.#signals} as group ${this.#options.group}`)
      while (!this.#stopped.signal.aborted) {
        await sleep(POLL_MS, undefined, { signal: this.#stopped.signal }).catch(() => undefined)
        await this.#step(producer)
      }
      if (this.#failure) throw this.#failure
    } finally {
      await Promise.allSettled([this.#consumer.disconnect(), producer.disconnect(), admin.disconnect()])
    }
  }

  async #read(admin: kafkajs.Admin): Promise<void> {
    const { GROUP_JOIN, CRASH } = this.#consumer.events
    this.#consumer.on(GROUP_JOIN, ({ payload }) => {
      this.#places = payload.memberAssignment[this.#signals] ?? []
      this.#actedBefore.clear()
      // Go on where the store ends, or rebuild the list from the start.
      for (const partition of this.#places) {
        this.#consumer.seek({ topic: this.#signals, partition, offset: String(this.#store.next(partition)) })
      }
    })
    this.#consumer.on(CRASH, ({ payload }) => {
      if (!payload.restart) this.stop(payload.error)
    })
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topics: [this.#signals], fromBeginning: true })
    await this.#consumer.run({ autoCommit: false, eachBatch: (payload) => this.#take(admin, payload) })
  }

  // Bring the work list up to date.
  async #take(admin: kafkajs.Admin, { batch, isStale, isRunning }: EachBatchPayload): Promise<void> {
    const place = batch.partition
    if (!this.#actedBefore.has(place)) {
      const [found] = await admin.fetchOffsets({ groupId: this.#options.group, topics: [this.#signals] })
      const committed = found?.partitions.find((each) => each.partition === place)?.offset ?? '-1'
      this.#actedBefore.set(place, Math.max(0, Number(committed)))
    }
    const begun = this.#store.next(place)
    const first = batch.messages[0]
    if (first && Number(first.offset) < begun && Number(batch.highWatermark) < begun) {
      this.stop(
        new Error(
          `${this.#options.store} has read ${this.#signals}-${place} up to offset ${begun}, which that topic does ` +
            'not have: it was created again. Use another --store, or remove the file',
        ),
      )
      return
    }
    for (const message of batch.messages) {
      if (isStale() || !isRunning()) return
      if (Number(message.offset) >= begun) this.#takeMessage(place, message)
    }
    this.#heardAt = Date.now()
  }

  #takeMessage(place: number, message: KafkaMessage): void {
    const oldest = Date.now() - Number(this.#options['max-age-days']) * 86_400_000
    const unacted = Number(message.offset) >= (this.#actedBefore.get(place) ?? 0)
    let signal: Signal | undefined
    try {
      signal = readSignal(message.value)
    } catch (error) {
      console.error(`crm: ${this.#signals}-${place}, offset ${message.offset} is no signal and is passed over: ${error}`)
    }
    this.#store.take(place, signal, Number(message.offset) + 1, unacted && Number(message.timestamp) >= oldest)
  }

  // Act when nothing more comes.
  async #step(producer: kafkajs.Producer): Promise<void> {
    const now = Date.now()
    if (now - this.#heardAt >= POLL_MS || now - this.#actedAt > BUSY_MS) {
      this.#actedAt = now
      await this.#act(producer)
    }
    if (this.#places.length && now - this.#heardAt > Number(this.#options['quiet-seconds']) * 1000) {
      this.#heardAt = now
      const many = this.#store.work().length
      console.log(`waiting for signals: ${this.#places.length} partitions, ${many} customers on the list`)
    }
  }

  // Open tasks for whoever is due, report them, and only then commit.
  async #act(producer: kafkajs.Producer): Promise<void> {
    const places = this.#places
    const read = new Map(places.map((place) => [place, this.#store.next(place)]))
    for (const { work, arm } of this.#store.openTasks(places, Number(this.#options.holdout))) {
      console.log(`${arm} by ${work.signal}: ${line(work)}`)
    }
    for (const task of this.#store.unsent(places)) {
      await producer.send({ topic: this.#touchpoints, messages: [{ key: task.subject, value: task.event }] })
      this.#store.reported(task.action_id)
    }
    const behind = [...read].filter(([place, next]) => next > (this.#actedBefore.get(place) ?? 0))
    if (!behind.length) return
    try {
      await this.#consumer.commitOffsets(
        behind.map(([partition, next]) => ({ topic: this.#signals, partition, offset: String(next) })),
      )
      for (const [place, next] of behind) this.#actedBefore.set(place, next)
    } catch (error) {
      if (!(error instanceof kafkajs.KafkaJSError)) throw error // a rebalance: whoever gets the partition commits
    }
  }
}

// Why Kafka cannot be used, most likely; '' where the reason is said.
function likely(message: string, options: Options): string {
  if (/certificate required|bad certificate|unknown ca|certificate unknown/i.test(message))
    return ': that port wants a client certificate that its authority has signed (--cert-file)'
  if (/certificate|altnames/i.test(message))
    return ": --ca-file must be of who signed the broker's certificate, and that must name the host"
  if (/group coordinator/.test(message)) return `: perhaps this user may not use the group ${options.group}`
  if (options.tls || options['ca-file'] || options['cert-file'])
    return /before secure TLS|ECONNRESET/.test(message) ? ': that port probably speaks no TLS' : ''
  return /Closed connection|ECONNRESET/.test(message) ? ': that port probably speaks TLS' : ''
}

// What a person can do about an error.
function explain(error: unknown, options: Options): string {
  const { name, message } = error as Error
  if (/authori[sz]/i.test(message)) {
    return `not allowed: ${message}; 'cxstream topics --acls --role crm --group ${options.group}' prints the rights`
  }
  if (/SASL/.test(name + message)) return `Kafka refuses this user: ${message}; look at --sasl, --user and the password`
  if (/^KafkaJS/.test(name)) {
    const why = message.trim() + likely(message, options)
    return `Kafka at ${options.kafka}: ${why}; look at --kafka, --tls and --sasl, then start again: nothing is lost`
  }
  return message
}

async function main(): Promise<number> {
  let options: Options
  try {
    options = readOptions()
  } catch (error) {
    console.error(`crm: ${(error as Error).message}`)
    return 2
  }
  if (options.help) {
    process.stdout.write(HELP)
    return 0
  }
  try {
    const store = new Store(options.store)
    try {
      if (options.list) {
        const list = store.work()
        list.forEach((work, i) => console.log(`${i + 1}. ${line(work)}${work.due ? ' (to do)' : ''}`))
        if (!list.length) console.log(`no customer is on the work list of ${options.store}`)
        return 0
      }
      const crm = new Crm(options, store)
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => crm.stop())
      await crm.run()
      console.log(`stopped; ${store.work().length} customers on the work list`)
      return 0
    } finally {
      store.close()
    }
  } catch (error) {
    console.error(`crm: ${explain(error, options)}`)
    return 1
  }
}

process.exitCode = await main()
