// Sends records with KafkaJS' default settings: node kafkajs_send.js BOOTSTRAP TOPIC CODEC < lines of {"key", "value"}
const { CompressionTypes, Kafka, logLevel } = require('kafkajs')
const readline = require('readline')

async function main() {
  const [bootstrap, topic, codec] = process.argv.slice(2)
  const messages = []
  for await (const line of readline.createInterface({ input: process.stdin })) messages.push(JSON.parse(line))
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
  const producer = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR }).producer()
  await producer.connect()
  await producer.send({ topic, messages, acks: -1, compression: CompressionTypes[codec] })
  await producer.disconnect()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
