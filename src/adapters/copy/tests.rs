//! A copy is read back as it was written, and what was altered is not read at all.

use super::*;

fn about() -> About {
    About { evenkeel_copy: VERSION, cluster: "c".into(), topic: "t".into(), partition: 3, start: 5, end: 9 }
}

fn records() -> Vec<Stored> {
    let headers = vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None), ("c".to_owned(), Some(vec![]))];
    let first = Stored { offset: 5, key: Some(b"42".to_vec()), value: Some(b"{}".to_vec()), headers };
    vec![first, Stored { offset: 8, ..Stored::default() }]
}

fn write(folder: &Path, about: &About) -> PathBuf {
    let mut writer = CopyWriter::create(folder, about).expect("it can be created");
    records().iter().for_each(|record| writer.add(record).expect("it can be written"));
    writer.end().expect("it can be ended")
}

fn read(folder: &Path) -> Result<(About, Vec<Stored>), CopyError> {
    let mut reader = CopyReader::open(folder, "t", 3)?;
    let mut found = Vec::new();
    while let Some(record) = reader.read()? {
        found.push(record);
    }
    Ok((reader.about, found))
}

#[test]
fn a_copy_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write(folder.path(), &about());
    assert_eq!(read(folder.path()).expect("it is whole"), (about(), records()));
    assert_eq!(path, folder.path().join("t-3.copy"));
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 1, "nothing else is left");
}

#[test]
fn a_copy_that_was_altered_anywhere_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write(folder.path(), &about());
    let bytes = std::fs::read(&path).expect("it is there");
    for place in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        std::fs::write(&path, altered).expect("it can be written");
        let error = read(folder.path()).expect_err("an altered byte is found");
        assert!(matches!(error.why, Why::Altered), "{place}: {error}");
    }
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).expect("it can be written");
        let error = read(folder.path()).expect_err("what is cut off is found");
        assert!(matches!(error.why, Why::Altered | Why::NoCopy(_)), "{length}: {error}");
    }
}

#[test]
fn a_newer_copy_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), &About { evenkeel_copy: VERSION + 1, ..about() });
    let said = read(folder.path()).expect_err("it is newer").to_string();
    assert!(said.ends_with("it is of version 2, this evenkeel reads up to 1: use a newer one"), "{said}");
}

/// What was written once must be read for ever; UPDATE_GOLDEN=1 writes it where it is missing.
#[test]
fn the_golden_copy_is_read_and_written_byte_for_byte() {
    let golden = Path::new("schemas/golden/copy-1.bin");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = write(folder.path(), &about());
    let written = std::fs::read(&path).expect("it is there");
    if !golden.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &written).expect("it can be written");
    }
    let known = std::fs::read(golden).expect("the golden copy is there");
    assert!(written == known, "a writer of one version writes the same bytes");
    std::fs::write(&path, known).expect("it can be written");
    assert_eq!(read(folder.path()).expect("it is whole"), (about(), records()));
}
