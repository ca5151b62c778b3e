import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * The sum of waiting of each customer and day in Flink SQL, exactly once.
 *
 * <p>Arguments: BOOTSTRAP SOURCE RESULT GROUP FOLDER SECONDS_BETWEEN_COMMITS
 */
public class FlinkSum {
    public static void main(String[] args) throws Exception {
        Configuration config = new Configuration();
        config.setString("execution.checkpointing.interval", Math.round(1000 * Double.parseDouble(args[5])) + " ms");
        config.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        config.setString("execution.checkpointing.dir", "file://" + args[4] + "/checkpoints");
        config.setString("parallelism.default", "2");
        config.setString("table.local-time-zone", "UTC");
        // Two of the four partitions of a source may be done before the others.
        config.setString("table.exec.source.idle-timeout", "1 s");
        TableEnvironment tables =
            TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(config).build());
        tables.executeSql(
            "CREATE TABLE touchpoints (subject STRING, `time` STRING, `data` ROW<wait_s DOUBLE>,"
                + " event_time AS TO_TIMESTAMP(REPLACE(SUBSTRING(`time`, 1, 23), 'T', ' ')),"
                + " WATERMARK FOR event_time AS event_time - INTERVAL '1' HOUR) WITH ("
                + "'connector' = 'kafka', 'topic' = '" + args[1] + "', 'properties.bootstrap.servers' = '" + args[0] + "',"
                + "'properties.group.id' = '" + args[3] + "', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json')");
        tables.executeSql(
            "CREATE TABLE sums (subject STRING, opened TIMESTAMP(3), total DOUBLE) WITH ("
                + "'connector' = 'kafka', 'topic' = '" + args[2] + "', 'properties.bootstrap.servers' = '" + args[0] + "',"
                + "'properties.transaction.timeout.ms' = '600000', 'sink.delivery-guarantee' = 'exactly-once',"
                + "'sink.transactional-id-prefix' = '" + args[3] + "', 'format' = 'json')");
        tables
            .executeSql(
                "INSERT INTO sums SELECT subject, window_start, SUM(COALESCE(`data`.wait_s, 0)) FROM TABLE("
                    + "TUMBLE(TABLE touchpoints, DESCRIPTOR(event_time), INTERVAL '1' DAY)) GROUP BY subject, window_start, window_end")
            .await();
    }
}
