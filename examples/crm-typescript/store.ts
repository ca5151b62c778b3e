// The CRM's database: the work list, the tasks with the events to send, and how far each partition has been read.
// Each change is one transaction. `place` is the number of a partition of the topic of signals.
import { createHash } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'

export interface Reason {
  evidence: string
  contribution: number
}

export interface Signal {
  id: string
  subject: string
  data: {
    change: string
    level: string
    probability: number
    value_at_risk?: number | null
    suggested_action?: string | null
    arm?: string | null
    reasons: Reason[]
  }
}

// One customer of the work list.
export interface Work {
  subject: string
  place: number
  signal: string
  change: string
  level: string
  probability: number
  value_at_risk: number | null
  action: string
  why: string
  due: number
}

export interface Task {
  action_id: string
  subject: string
  event: string
}

const SCHEMA = `
CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, subject TEXT);
CREATE TABLE IF NOT EXISTS work (
    subject TEXT PRIMARY KEY, place INTEGER, signal TEXT, change TEXT, level TEXT, probability REAL,
    value_at_risk REAL, action TEXT, why TEXT, due INTEGER);
CREATE TABLE IF NOT EXISTS tasks (
    action_id TEXT PRIMARY KEY, subject TEXT, place INTEGER, arm TEXT, event BLOB, sent INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS arms (subject TEXT PRIMARY KEY, arm TEXT);
CREATE TABLE IF NOT EXISTS positions (place INTEGER PRIMARY KEY, next INTEGER);
`
// Customers with a known value come first; the others follow by probability.
const RANKED = 'ORDER BY value_at_risk DESC NULLS LAST, probability DESC, subject'
const MINE = 'place IN (SELECT value FROM json_each(?))'

export class Store {
  readonly #db: DatabaseSync

  constructor(path: string) {
    // It names customers: for its owner alone.
    closeSync(openSync(path, 'a', 0o600))
    this.#db = new DatabaseSync(path, { timeout: 30_000 })
    this.#db.exec(SCHEMA)
  }

  close(): void {
    this.#db.close()
  }

  #inTransaction<T>(change: () => T): T {
    this.#db.exec('BEGIN IMMEDIATE')
    try {
      const result = change()
      this.#db.exec('COMMIT')
      return result
    } catch (error) {
      this.#db.exec('ROLLBACK')
      throw error
    }
  }

  // The first offset that is not in the store.
  next(place: number): number {
    const found = this.#db.prepare('SELECT next FROM positions WHERE place = ?').get(place)
    return found ? Number(found['next']) : 0
  }

  // Change the work list by one signal (undefined: a record that is none), and remember how far it was read.
  // `act`: it has not been acted on, and is recent enough to be.
  take(place: number, signal: Signal | undefined, next: number, act: boolean): void {
    this.#inTransaction(() => {
      if (signal) this.#takeSignal(place, signal, act)
      this.#db.prepare('INSERT OR REPLACE INTO positions VALUES (?, ?)').run(place, next)
    })
  }

  #takeSignal(place: number, { id, subject, data }: Signal, act: boolean): void {
    if (data.change === 'erased') {
      // The customer asked to be forgotten: that holds for the CRM, too.
      for (const table of ['work', 'tasks', 'seen', 'arms']) {
        this.#db.prepare(`DELETE FROM ${table} WHERE subject = ?`).run(subject)
      }
      return
    }
    if (!this.#db.prepare('INSERT OR IGNORE INTO seen VALUES (?, ?)').run(id, subject).changes) return
    const held = this.#db.prepare('SELECT due FROM work WHERE subject = ?').get(subject)
    this.#db.prepare('DELETE FROM work WHERE subject = ?').run(subject)
    // Where the rules have an experiment, they say who is held out.
    this.#db.prepare('INSERT OR REPLACE INTO arms VALUES (?, ?)').run(subject, data.arm ?? null)
    if (data.level === 'none') return // cleared
    // `eased` is good news, and no reason to act again; but who was not yet acted on is still to be.
    const due = act && (['raised', 'worsened'].includes(data.change) || held?.['due'] === 1)
    const why = data.reasons.filter((each) => each.contribution > 0).map((each) => each.evidence)
    const row = [subject, place, id, data.change, data.level, data.probability, data.value_at_risk ?? null]
    this.#db
      .prepare('INSERT INTO work VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
      .run(...row, data.suggested_action || 'review', why.join('; '), due ? 1 : 0)
  }

  // Create a task, and the event that reports it, for each customer who is due, in order of rank.
  openTasks(places: number[], holdout: number): { work: Work; arm: string }[] {
    return this.#inTransaction(() => {
      const due = this.#db.prepare(`SELECT * FROM work WHERE due AND ${MINE} ${RANKED}`)
      const opened: { work: Work; arm: string }[] = []
      for (const work of due.all(JSON.stringify(places)) as unknown as Work[]) {
        const told = this.#db.prepare('SELECT arm FROM arms WHERE subject = ?').get(work.subject)
        const arm = String(told?.['arm'] ?? (share(work.subject) < holdout ? 'holdout' : 'treated'))
        const task = this.#db
          .prepare('INSERT OR IGNORE INTO tasks VALUES (?, ?, ?, ?, ?, 0)')
          .run(work.signal, work.subject, work.place, arm, JSON.stringify(actionTaken(work, arm)))
        this.#db.prepare('UPDATE work SET due = 0 WHERE subject = ?').run(work.subject)
        if (task.changes) opened.push({ work, arm })
      }
      return opened
    })
  }

  // Tasks that have not been reported, in order of their creation.
  unsent(places: number[]): Task[] {
    return this.#db
      .prepare(`SELECT action_id, subject, event FROM tasks WHERE NOT sent AND ${MINE} ORDER BY rowid`)
      .all(JSON.stringify(places)) as unknown as Task[]
  }

  reported(actionId: string): void {
    this.#db.prepare('UPDATE tasks SET sent = 1 WHERE action_id = ?').run(actionId)
  }

  // The work list, in order of rank.
  work(): Work[] {
    return this.#db.prepare(`SELECT * FROM work ${RANKED}`).all() as unknown as Work[]
  }
}

// A number in [0, 1) that is always the same for a customer.
function share(subject: string): number {
  return createHash('sha256').update('retention-1').update(subject).digest().readUIntBE(0, 6) / 2 ** 48
}

// The event that tells cxstream what was done; its id is that of the signal, so that it counts once.
function actionTaken(work: Work, arm: string): object {
  return {
    specversion: '1.0',
    id: work.signal,
    source: '/crm',
    type: 'cx.touchpoint.action_taken.v1',
    subject: work.subject,
    time: new Date().toISOString(),
    data: { channel: 'crm', action: work.action, arm, action_id: work.signal },
  }
}
