// Holds a document against the AsyncAPI specification with AsyncAPI's own parser, and follows every reference. Prints what is
// wrong, and exits with 1 where something is; else the channels with their messages.
const { Parser, fromFile } = require('@asyncapi/parser');
const { AvroSchemaParser } = require('@asyncapi/avro-schema-parser');

const LEVELS = ['error', 'warning', 'information', 'hint'];

async function main(file) {
  const parser = new Parser();
  parser.registerSchemaParser(AvroSchemaParser());
  const { document, diagnostics } = await fromFile(parser, file).parse();
  const wrong = diagnostics.filter((one) => one.severity <= 1);
  for (const one of wrong) {
    console.log(`${LEVELS[one.severity]}: /${one.path.join('/')}: ${one.message}`);
  }
  if (wrong.length > 0 || document === undefined) {
    process.exitCode = 1;
    return;
  }
  for (const channel of document.channels().all()) {
    console.log(`${channel.address()}: ${channel.messages().all().map((message) => message.id()).join(', ')}`);
  }
}

main(process.argv[2]);
