//! What a schema registry answers.

use evenkeel::adapters::debezium::Found;
use evenkeel::adapters::registry::read_answer;

pub fn answer(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match read_answer(text) {
        Ok(Found::Asked) => panic!("an answer asks nothing"),
        Ok(Found::Avro(schema)) => assert!(schema.len() <= text.len()),
        Ok(Found::Json | Found::Useless(_)) | Err(_) => {}
    }
}
