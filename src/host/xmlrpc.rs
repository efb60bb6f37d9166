//! XML-RPC as Supervisor speaks it (<http://xmlrpc.com/spec.md>): strings, integers, booleans, arrays, structs, faults.

use std::collections::BTreeMap;

use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesRef, Event};
use quick_xml::reader::Reader;

/// Deeper nesting is refused; Supervisor's answers have four levels.
const DEPTH: usize = 16;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// `<string>`, or a value without a type.
    Text(String),
    /// `<int>` or `<i4>`.
    Int(i64),
    /// `<boolean>`
    Bool(bool),
    /// `<array>`
    Array(Vec<Value>),
    /// `<struct>`
    Struct(BTreeMap<String, Value>),
}

impl Value {
    /// A member of a struct.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Struct(members) => members.get(name),
            _ => None,
        }
    }

    /// The text.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The items of an array; none for anything else.
    pub(super) fn items(&self) -> &[Value] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

/// An answer that is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The server's own refusal.
    #[error("{text} (fault {code})")]
    Fault {
        /// Its number.
        code: i64,
        /// Its words.
        text: String,
    },
    /// Not XML-RPC.
    #[error("not an XML-RPC answer: {0}")]
    Syntax(String),
}

fn syntax<T>(why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Syntax(why.into()))
}

/// The body of a call.
pub(super) fn call(method: &str, params: &[Value]) -> String {
    let params = joined(params, |value| format!("<param>{}</param>", encode(value)));
    format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{}</methodName><params>{params}</params></methodCall>",
        escape(method)
    )
}

fn encode(value: &Value) -> String {
    let inner = match value {
        Value::Text(text) => format!("<string>{}</string>", escape(text)),
        Value::Int(number) => format!("<int>{number}</int>"),
        Value::Bool(truth) => format!("<boolean>{}</boolean>", u8::from(*truth)),
        Value::Array(items) => format!("<array><data>{}</data></array>", joined(items, encode)),
        Value::Struct(members) => format!("<struct>{}</struct>", joined(members, encode_member)),
    };
    format!("<value>{inner}</value>")
}

fn encode_member((name, value): (&String, &Value)) -> String {
    format!("<member><name>{}</name>{}</member>", escape(name), encode(value))
}

fn joined<T>(items: impl IntoIterator<Item = T>, encode: impl Fn(T) -> String) -> String {
    items.into_iter().map(encode).collect::<Vec<_>>().concat()
}

/// The value of an answer, or its fault.
pub(super) fn answer(xml: &str) -> Result<Value, Refusal> {
    let mut parser = Parser { reader: Reader::from_str(xml), depth: 0 };
    parser.open("methodResponse")?;
    match parser.next()? {
        Token::Open(tag) if tag == "params" => {
            parser.open("param")?;
            parser.open("value")?;
            parser.value()
        }
        Token::Open(tag) if tag == "fault" => {
            parser.open("value")?;
            Err(fault(&parser.value()?))
        }
        other => syntax(format!("{other:?} where params or a fault belong")),
    }
}

fn fault(value: &Value) -> Refusal {
    let code = value.get("faultCode").and_then(Value::int);
    let text = value.get("faultString").and_then(Value::text);
    match (code, text) {
        (Some(code), Some(text)) => Refusal::Fault { code, text: text.to_owned() },
        _ => Refusal::Syntax("a fault without code or text".into()),
    }
}

/// What a document is made of, without space between tags.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    Open(String),
    Close(String),
    Text(String),
}

struct Parser<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
}

impl Parser<'_> {
    /// The next tag; text between tags that are no values is space.
    fn next(&mut self) -> Result<Token, Refusal> {
        loop {
            match self.token()? {
                Token::Text(text) if text.trim().is_empty() => {}
                token => return Ok(token),
            }
        }
    }

    fn token(&mut self) -> Result<Token, Refusal> {
        loop {
            let event = self.reader.read_event().map_err(|error| Refusal::Syntax(error.to_string()))?;
            let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return match event {
                Event::Start(tag) => Ok(Token::Open(name(tag.name().as_ref()))),
                Event::End(tag) => Ok(Token::Close(name(tag.name().as_ref()))),
                Event::Text(text) => text.decode().map(|text| Token::Text(text.into_owned())).or_else(not_utf8),
                Event::CData(text) => text.decode().map(|text| Token::Text(text.into_owned())).or_else(not_utf8),
                Event::GeneralRef(reference) => entity(&reference).map(Token::Text),
                Event::Empty(tag) => syntax(format!("an empty {}", name(tag.name().as_ref()))),
                Event::Eof => syntax("it ends too early"),
                // A document type could define entities that grow without bound.
                Event::DocType(_) => syntax("a document type"),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => continue,
            };
        }
    }

    fn open(&mut self, wanted: &str) -> Result<(), Refusal> {
        self.expect(&Token::Open(wanted.to_owned()))
    }

    fn close(&mut self, wanted: &str) -> Result<(), Refusal> {
        self.expect(&Token::Close(wanted.to_owned()))
    }

    fn expect(&mut self, wanted: &Token) -> Result<(), Refusal> {
        match self.next()? {
            token if token == *wanted => Ok(()),
            token => syntax(format!("{token:?} where {wanted:?} belongs")),
        }
    }

    /// A value whose `<value>` has been read, up to and with its `</value>`.
    fn value(&mut self) -> Result<Value, Refusal> {
        self.depth += 1;
        if self.depth > DEPTH {
            return syntax("it is nested too deep");
        }
        let value = self.inner();
        self.depth -= 1;
        value
    }

    fn inner(&mut self) -> Result<Value, Refusal> {
        let mut bare = String::new();
        let kind = loop {
            match self.token()? {
                Token::Text(text) => bare.push_str(&text),
                Token::Close(tag) if tag == "value" => return Ok(Value::Text(bare)),
                Token::Close(tag) => return syntax(format!("</{tag}> in a value")),
                Token::Open(kind) => break kind,
            }
        };
        let value = self.typed(&kind)?;
        self.close("value")?;
        Ok(value)
    }

    fn typed(&mut self, kind: &str) -> Result<Value, Refusal> {
        match kind {
            "string" => self.text(kind).map(Value::Text),
            "int" | "i4" => {
                let text = self.text(kind)?;
                text.trim().parse().map(Value::Int).or_else(|_| syntax(format!("`{text}` is no integer")))
            }
            "boolean" => match self.text(kind)?.trim() {
                "0" => Ok(Value::Bool(false)),
                "1" => Ok(Value::Bool(true)),
                other => syntax(format!("`{other}` is no boolean")),
            },
            "array" => self.array(),
            "struct" => self.members(),
            other => syntax(format!("a value of type {other}")),
        }
    }

    fn text(&mut self, kind: &str) -> Result<String, Refusal> {
        let mut all = String::new();
        loop {
            match self.token()? {
                Token::Text(text) => all.push_str(&text),
                Token::Close(tag) if tag == kind => return Ok(all),
                other => return syntax(format!("{other:?} in a {kind}")),
            }
        }
    }

    fn array(&mut self) -> Result<Value, Refusal> {
        self.open("data")?;
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Token::Open(tag) if tag == "value" => items.push(self.value()?),
                Token::Close(tag) if tag == "data" => break,
                other => return syntax(format!("{other:?} in an array")),
            }
        }
        self.close("array")?;
        Ok(Value::Array(items))
    }

    fn members(&mut self) -> Result<Value, Refusal> {
        let mut members = BTreeMap::new();
        loop {
            match self.next()? {
                Token::Open(tag) if tag == "member" => {
                    let (name, value) = self.member()?;
                    members.insert(name, value);
                }
                Token::Close(tag) if tag == "struct" => return Ok(Value::Struct(members)),
                other => return syntax(format!("{other:?} in a struct")),
            }
        }
    }

    fn member(&mut self) -> Result<(String, Value), Refusal> {
        self.open("name")?;
        let name = self.text("name")?;
        self.open("value")?;
        let value = self.value()?;
        self.close("member")?;
        Ok((name, value))
    }
}

fn not_utf8<T, E>(_: E) -> Result<T, Refusal> {
    syntax("text that is no UTF-8")
}

fn entity(reference: &BytesRef<'_>) -> Result<String, Refusal> {
    match reference.resolve_char_ref() {
        Ok(Some(char)) => return Ok(char.to_string()),
        Ok(None) => {}
        Err(error) => return syntax(error.to_string()),
    }
    let name = reference.decode().or_else(not_utf8)?;
    match resolve_predefined_entity(&name) {
        Some(text) => Ok(text.to_owned()),
        None => syntax(format!("an unknown entity &{name};")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(value: &str) -> String {
        format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n{value}\n</param>\n</params>\n</methodResponse>\n"
        )
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let value = Value::Array(vec![
            Value::Text("a < b & \"c\" 'é'\n second".into()),
            Value::Int(-7),
            Value::Bool(true),
            Value::Struct(BTreeMap::from([("na<me".to_owned(), Value::Array(vec![]))])),
            Value::Text(String::new()),
        ]);
        assert_eq!(answer(&response(&encode(&value))), Ok(value));
    }

    #[test]
    fn a_call_cannot_be_broken_out_of() {
        let sent = call("supervisor.startProcess", &[Value::Text("</string>".into()), Value::Bool(true)]);
        assert!(sent.contains("<string>&lt;/string&gt;</string>"), "{sent}");
        assert!(sent.contains("<boolean>1</boolean>"), "{sent}");
    }

    #[test]
    fn supervisors_own_words_are_understood() {
        let listed = "<value><array><data>\n<value><struct>\n<member>\n<name>pid</name>\n<value><int>12</int></value>\n</member>\n\
                      <member>\n<name>name</name>\n<value><string>x&#13;&amp;y</string></value>\n</member>\n</struct></value>\n</data></array></value>";
        let value = answer(&response(listed)).unwrap();
        assert_eq!(value.items()[0].get("pid").and_then(Value::int), Some(12));
        assert_eq!(value.items()[0].get("name").and_then(Value::text), Some("x\r&y"));
        assert_eq!(answer(&response("<value>bare</value>")), Ok(Value::Text("bare".into())));
    }

    #[test]
    fn a_fault_is_a_refusal() {
        let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>10</int></value></member>\
                     <member><name>faultString</name><value><string>BAD_NAME: x</string></value></member></struct></value></fault></methodResponse>";
        assert_eq!(answer(fault), Err(Refusal::Fault { code: 10, text: "BAD_NAME: x".into() }));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = format!("{}{}", "<value><array><data>".repeat(40), "</data></array></value>".repeat(40));
        let wrong = [
            String::new(),
            "garbage".into(),
            "<methodResponse>".into(),
            "<html><body>502</body></html>".into(),
            "<!DOCTYPE a [<!ENTITY b \"c\">]><methodResponse/>".into(),
            response("<value><int>x</int></value>"),
            response("<value><boolean>2</boolean></value>"),
            response("<value><nil/></value>"),
            response("<value><string>&b;</string></value>"),
            response("<value><string>a</int></value>"),
            response(&deep),
        ];
        for xml in &wrong {
            assert!(matches!(answer(xml), Err(Refusal::Syntax(_))), "{xml}");
        }
    }
}
