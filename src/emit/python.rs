//! Python: assignments of literals.
//!
//! Every text can be carried: what is not printable ASCII is escaped, so the file's encoding never matters.

use std::fmt::Write as _;

use super::{EmitError, Grammar};

/// A Python value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float; only finite ones have a literal.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Value>),
    /// A dictionary, in this order.
    Dict(Vec<(String, Value)>),
}

impl Value {
    /// A string.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// `NAME = literal` and a line break. Names are those of Django settings: upper-case letters, digits, `_`.
pub fn assignment(name: &str, value: &Value) -> Result<String, EmitError> {
    let inner = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    if !(name.bytes().all(inner) && name.bytes().next().is_some_and(|b| b.is_ascii_uppercase())) {
        let what = "the name of a setting".to_owned();
        return Err(EmitError::Name { grammar: Grammar::Python, what, text: name.to_owned() });
    }
    let mut out = format!("{name} = ");
    emit(&mut out, name, value)?;
    out.push('\n');
    Ok(out)
}

/// A dotted module path of identifiers in ASCII, as in `from bakery.settings import *`.
pub fn module(path: &str) -> Result<&str, EmitError> {
    let identifier = |part: &str| {
        part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && part.bytes().next().is_some_and(|b| !b.is_ascii_digit())
    };
    if path.split('.').all(identifier) {
        return Ok(path);
    }
    let what = "a module".to_owned();
    Err(EmitError::Name { grammar: Grammar::Python, what, text: path.to_owned() })
}

fn emit(out: &mut String, name: &str, value: &Value) -> Result<(), EmitError> {
    match value {
        Value::None => out.push_str("None"),
        Value::Bool(true) => out.push_str("True"),
        Value::Bool(false) => out.push_str("False"),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) if number.is_finite() => {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "{number:?}");
        }
        Value::Float(_) => return Err(EmitError::NotFinite { what: format!("setting {name}") }),
        Value::Text(text) => write_text(out, text),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                emit(out, name, item)?;
            }
            out.push(']');
        }
        Value::Dict(items) => {
            out.push('{');
            for (index, (key, item)) in items.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { ", " });
                write_text(out, key);
                out.push_str(": ");
                emit(out, name, item)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _infallible = match (c, u32::from(c)) {
            ('"' | '\\', _) => write!(out, "\\{c}"),
            (' '..='~', _) => write!(out, "{c}"),
            (_, code @ ..=0xff) => write!(out, "\\x{code:02x}"),
            (_, code @ ..=0xffff) => write!(out, "\\u{code:04x}"),
            (_, code) => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    #[test]
    fn python_reads_every_text_back() {
        let values = proof::values();
        let list = Value::List(values.iter().map(Value::text).collect());
        let literal = assignment("X", &list).unwrap();
        assert!(literal.is_ascii());
        let program = "import ast,json,sys; t=ast.parse(sys.stdin.read()); assert len(t.body)==1; \
                       print(json.dumps(ast.literal_eval(t.body[0].value)))";
        let Some(said) = proof::ask("python3", &["-I", "-c", program], literal.as_bytes()) else { return };
        assert!(said.ok, "{}", said.stderr);
        assert_eq!(serde_json::from_slice::<Vec<String>>(&said.stdout).unwrap(), values);
    }

    #[test]
    fn numbers_keep_their_type() {
        let dict = vec![
            ("a".to_owned(), Value::Float(1.0)),
            ("b".to_owned(), Value::Float(1e300)),
            ("c".to_owned(), Value::Int(i64::MIN)),
            ("d\"".to_owned(), Value::List(vec![Value::Bool(true), Value::None])),
        ];
        let text = assignment("X", &Value::Dict(dict)).unwrap();
        assert_eq!(text, "X = {\"a\": 1.0, \"b\": 1e300, \"c\": -9223372036854775808, \"d\\\"\": [True, None]}\n");
        for number in [f64::NAN, f64::INFINITY] {
            assert!(assignment("X", &Value::List(vec![Value::Float(number)])).is_err());
        }
    }

    #[test]
    fn names_are_no_code() {
        for name in ["", "x", "X=1;Y", "X\nimport os", "1X", "X Y", "_X", "É"] {
            assert!(assignment(name, &Value::None).is_err(), "{name:?}");
        }
        for path in ["", "a..b", "a b", "a;b", "a.b\n", ".a", "1a", "a-b"] {
            assert!(module(path).is_err(), "{path:?}");
        }
        assert_eq!(module("bakery.settings_pro"), Ok("bakery.settings_pro"));
    }
}
