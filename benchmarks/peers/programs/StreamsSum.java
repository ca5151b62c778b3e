import java.time.Duration;
import java.time.Instant;
import java.util.Properties;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;

/**
 * The sum of waiting of each customer and day in Kafka Streams, exactly once.
 *
 * <p>Arguments: BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS
 */
public class StreamsSum {
    /** What is read of a touchpoint. */
    record Touchpoint(long time, double waiting) {}

    private static final ObjectMapper JSON = new ObjectMapper();

    static Touchpoint read(byte[] value) {
        try {
            JsonNode event = JSON.readTree(value);
            return new Touchpoint(
                Instant.parse(event.get("time").textValue()).toEpochMilli(),
                event.path("data").path("wait_s").asDouble(0.0));
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    public static void main(String[] args) {
        Properties config = new Properties();
        config.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
        config.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
        config.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
        config.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Math.round(1000 * Double.parseDouble(args[5])));
        config.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        config.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        config.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");

        Serde<Touchpoint> touchpoint =
            Serdes.serdeFrom((topic, value) -> null, (topic, value) -> read(value));
        StreamsBuilder builder = new StreamsBuilder();
        builder
            .stream(
                args[1],
                Consumed.with(Serdes.String(), touchpoint)
                    .withTimestampExtractor((record, last) -> ((Touchpoint) record.value()).time()))
            .mapValues(Touchpoint::waiting)
            .groupByKey(Grouped.with(Serdes.String(), Serdes.Double()))
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofDays(1), Duration.ofHours(1)))
            .reduce(Double::sum, Materialized.with(Serdes.String(), Serdes.Double()))
            .toStream((window, sum) -> window.key() + "@" + window.window().start())
            .to(args[2], Produced.with(Serdes.String(), Serdes.Double()));

        KafkaStreams streams = new KafkaStreams(builder.build(), config);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(5))));
        streams.start();
    }
}
