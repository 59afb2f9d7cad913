//JAVA 17+
//DEPS org.apache.kafka:kafka-clients:4.3.0
//DEPS org.apache.avro:avro:1.12.0
//DEPS com.fasterxml.jackson.core:jackson-databind:2.21.2

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/** A fixer to begin with: follows the discrepancy topic and prints what a real one would do. */
public class Fixer {
    /** What a fixer needs of a discrepancy; of a heartbeat or a source's notice it is null. */
    record Event(String type, String id, long revision, String rule, String key, long flapCount, String amount) {
        private static final Set<String> TYPES = Set.of("opened", "updated", "escalated", "resolved");

        static Event of(JsonNode body) {
            if (!TYPES.contains(body.path("type").asText())) {
                return null;
            }
            String amount = body.path("amount_at_risk").asText("-") + " " + body.path("currency").asText("-");
            return new Event(body.get("type").asText(), body.get("id").asText(), body.get("revision").asLong(),
                body.get("rule").get("id").asText(), body.get("key").asText(), body.get("flap_count").asLong(), amount);
        }

        static Event of(GenericRecord body) {
            if (!TYPES.contains(body.get("type").toString())) {
                return null;
            }
            String rule = ((GenericRecord) body.get("rule")).get("id").toString();
            return new Event(body.get("type").toString(), body.get("id").toString(), (Long) body.get("revision"), rule,
                body.get("key").toString(), (Long) body.get("flap_count"),
                Objects.toString(body.get("amount_at_risk"), "-") + " " + Objects.toString(body.get("currency"), "-"));
        }
    }

    /** Reads Confluent's framing: a zero byte, the schema's id in four bytes, the datum. Confluent's and Apicurio's
     *  deserializers do the same. */
    static class AvroBodies {
        private final String registry;
        private final HttpClient http = HttpClient.newHttpClient();
        private final ObjectMapper json = new ObjectMapper();
        private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();

        AvroBodies(String registry) {
            this.registry = registry;
        }

        GenericRecord read(byte[] value) throws IOException, InterruptedException {
            ByteBuffer framed = ByteBuffer.wrap(value);
            if (framed.get() != 0) {
                throw new IOException("not framed as a schema registry's serializers do");
            }
            int id = framed.getInt();
            GenericDatumReader<GenericRecord> reader = readers.get(id);
            if (reader == null) {
                reader = new GenericDatumReader<>(schema(id));
                readers.put(id, reader);
            }
            return reader.read(null, DecoderFactory.get().binaryDecoder(value, framed.position(), framed.remaining(), null));
        }

        private Schema schema(int id) throws IOException, InterruptedException {
            URI uri = URI.create(registry + "/schemas/ids/" + id);
            var answer = http.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString());
            if (answer.statusCode() != 200) {
                throw new IOException(uri + " answers " + answer.statusCode());
            }
            return new Schema.Parser().parse(json.readTree(answer.body()).get("schema").asText());
        }
    }

    private final ObjectMapper json = new ObjectMapper();
    private final AvroBodies avro;
    /** The last revision of each id. A real fixer keeps it in its own database, beside what it did. */
    private final Map<String, Long> revisions = new HashMap<>();

    Fixer(String registry) {
        avro = new AvroBodies(registry);
    }

    Event read(ConsumerRecord<String, byte[]> message) throws IOException, InterruptedException {
        Header header = message.headers().lastHeader("content-type");
        String type = header == null ? "unknown" : new String(header.value(), StandardCharsets.UTF_8);
        return switch (type) {
            case "application/json" -> Event.of(json.readTree(message.value()));
            case "application/avro" -> Event.of(avro.read(message.value()));
            default -> throw new IOException("content-type " + type + " cannot be read");
        };
    }

    void hear(Event event) {
        if (event == null || event.revision() <= revisions.getOrDefault(event.id(), 0L)) {
            return;
        }
        revisions.put(event.id(), event.revision());
        if (event.flapCount() == 0) {
            act(event);
        }
    }

    void act(Event event) {
        System.out.println(String.join(" ", event.type(), event.rule(), event.key(), event.amount(),
            event.id() + "/" + event.revision()));
    }

    /** BOOTSTRAP TOPIC GROUP [REGISTRY] */
    public static void main(String[] args) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", args[0],
            "group.id", args[2],
            "isolation.level", "read_committed",
            "auto.offset.reset", "earliest",
            "enable.auto.commit", "false");
        Fixer fixer = new Fixer(args.length > 3 ? args[3] : "http://localhost:8081");
        var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer());
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                main.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        try (consumer) {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                for (var message : consumer.poll(Duration.ofSeconds(1))) {
                    fixer.hear(fixer.read(message));
                }
                // What was polled was acted upon.
                consumer.commitSync();
            }
        } catch (WakeupException e) {
            // Told to stop.
        }
    }
}
