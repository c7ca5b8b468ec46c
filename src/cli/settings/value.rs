//! The value of a setting: a text or a list.

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text, a number, or a truth value.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

impl Value {
    /// The one value; `None` of a list.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text.clone()),
            Value::List(_) => None,
        }
    }

    /// The values, one or several.
    pub fn words(&self) -> Vec<String> {
        match self {
            Value::Text(text) => vec![text.clone()],
            Value::List(words) => words.clone(),
        }
    }

    /// As a name of a table is written.
    pub fn as_key(&self) -> String {
        let text = self.words().concat();
        let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.chars().all(is_bare) { text } else { self.as_toml() }
    }

    /// As it is written in the file.
    pub fn as_toml(&self) -> String {
        match self {
            Value::Text(text) => match (text.parse::<bool>(), text.parse::<i64>()) {
                (Ok(value), _) => value.to_string(),
                (_, Ok(number)) => number.to_string(),
                _ => toml::Value::from(text.as_str()).to_string(),
            },
            Value::List(words) => toml::Value::from(words.clone()).to_string(),
        }
    }
}
