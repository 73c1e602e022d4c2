//! What an error may not hold: a mail address. What becomes of a message says [`swiftcart_capabilities::kafka::Failure`].

/// A text with every word that could be an address struck out: mail servers like to repeat them.
#[must_use]
pub fn without_addresses(text: &str) -> String {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if word.contains('@') { "<address>" } else { word }).collect();
    words.join(" ")
}
