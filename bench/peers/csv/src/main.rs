// csv-peer FILE: counts the records of a file.
fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let mut reader = csv::ReaderBuilder::new()
        .buffer_capacity(64 * 1024)
        .from_path(path)
        .expect("a file that can be read");
    let mut record = csv::ByteRecord::new();
    let mut records = 0;
    while reader.read_byte_record(&mut record).expect("good CSV") {
        records += 1;
    }
    println!("{}", records);
}
