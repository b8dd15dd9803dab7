// Reads recorded events with generated types: as JSON, as a map of MessagePack and as an array of MessagePack.

fn reads<T: serde::de::DeserializeOwned>(event: &[u8]) -> Result<(), String> {
    rmp_serde::from_slice::<T>(event).map(drop).map_err(|error| error.to_string())
}

fn both<E: serde::de::DeserializeOwned, P: serde::de::DeserializeOwned>(
    event: &[u8],
    payload: fn(E) -> serde_json::Value,
) -> Result<(), String> {
    let event = rmp_serde::from_slice::<E>(event).map_err(|error| error.to_string())?;
    serde_json::from_value::<P>(payload(event)).map(drop).map_err(|error| error.to_string())
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let lines = std::fs::read_to_string(arguments.next().unwrap()).unwrap();
    let mut complete = true;
    for shape in ["map", "array"] {
        let (mut good, mut all) = (0, 0);
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let kind = line["type"].as_str().unwrap_or_default();
            let whole = line["whole"].as_str().unwrap_or_default();
            all += 1;
            match read(kind, whole, &bytes(line[shape].as_str().unwrap())) {
                Ok(()) => good += 1,
                Err(error) if shape == "map" => eprintln!("{kind}: {error}"),
                Err(_) => (),
            }
        }
        print!("{good} of {all} {shape}s; ");
        complete &= good == all || shape != "map";
    }
    println!();
    std::process::exit(if complete { 0 } else { 1 });
}
