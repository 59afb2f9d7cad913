//! LIKE and ILIKE.
//!
//! Must not know: expressions.

/// True where `text` matches `pattern`: `%` is any stretch, `_` any character, `escape` makes the next one plain.
pub fn like(text: &str, pattern: &str, escape: Option<char>, insensitive: bool) -> bool {
    let fold = |text: &str| if insensitive { text.to_lowercase() } else { text.to_owned() };
    let text: Vec<char> = fold(text).chars().collect();
    let mut tokens = Vec::new();
    let pattern = fold(pattern);
    let mut chars = pattern.chars();
    while let Some(one) = chars.next() {
        tokens.push(match one {
            one if Some(one) == escape => Token::Plain(chars.next().unwrap_or(one)),
            '%' => Token::Any,
            '_' => Token::One,
            plain => Token::Plain(plain),
        });
    }
    matches(&text, &tokens)
}

#[derive(Clone, Copy)]
enum Token {
    Plain(char),
    One,
    Any,
}

/// Greedy matching that goes back to the last `%` only: never worse than text times pattern.
fn matches(text: &[char], tokens: &[Token]) -> bool {
    let (mut at, mut token) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                retry = Some((at, token));
                token += 1;
            }
            Some(Token::One) => {
                at += 1;
                token += 1;
            }
            Some(Token::Plain(plain)) if *plain == text[at] => {
                at += 1;
                token += 1;
            }
            _ => match retry {
                Some((from, any)) => {
                    retry = Some((from + 1, any));
                    at = from + 1;
                    token = any + 1;
                }
                None => return false,
            },
        }
    }
    tokens[token..].iter().all(|token| matches!(token, Token::Any))
}
