//! Counts the protobuf fields of an ONNX file before it is decoded.
//!
//! A field of two bytes can decode to a struct of a kilobyte, so the size of a
//! file does not bound the memory that decoding takes; the number of fields does.

/// Deepest nesting of messages that a usable file has (subgraphs included).
const MAX_DEPTH: usize = 24;

/// Message types with repeated messages or strings inside.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TypeTensor,
    Shape,
    Training,
    Function,
    Annotation,
    /// Only scalars and single strings inside.
    Leaf,
}

/// The type of a length-delimited field, `None` for strings, bytes and packed numbers.
fn child(message: Message, field: u64) -> Option<Message> {
    use Message::{
        Annotation, Attribute, Function, Graph, Leaf, Model, Node, Shape, SparseTensor, Tensor, Training, Type,
        TypeTensor, ValueInfo,
    };
    Some(match (message, field) {
        (Model, 7) => Graph,
        (Model, 8 | 14) => Leaf,
        (Model, 20) => Training,
        (Model, 25) => Function,
        (Training, 1 | 2) => Graph,
        (Training, 3 | 4) => Leaf,
        (Function, 7) => Node,
        (Function, 9) => Leaf,
        (Graph, 1) => Node,
        (Graph, 5) => Tensor,
        (Graph, 11..=13) => ValueInfo,
        (Graph, 14) => Annotation,
        (Graph, 15) => SparseTensor,
        (Annotation, 2) => Leaf,
        (Node, 5) => Attribute,
        (Attribute, 5 | 10) => Tensor,
        (Attribute, 6 | 11) => Graph,
        (Attribute, 22 | 23) => SparseTensor,
        (Attribute, 14 | 15) => Type,
        (SparseTensor, 1 | 2) => Tensor,
        (Tensor, 3 | 13) => Leaf,
        (ValueInfo, 2) => Type,
        (Type, 1) => TypeTensor,
        (TypeTensor, 2) => Shape,
        (Shape, 1) => Leaf,
        _ => return None,
    })
}

/// Number of length-delimited fields of an ONNX model, or why it is no protobuf.
pub fn count_fields(bytes: &[u8]) -> Result<u64, String> {
    let mut count = 0;
    scan(bytes, Message::Model, 0, &mut count)?;
    Ok(count)
}

fn scan(mut bytes: &[u8], message: Message, depth: usize, count: &mut u64) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("messages are nested deeper than {MAX_DEPTH}"));
    }
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let skip = match tag & 7 {
            0 => {
                varint(&mut bytes)?;
                0
            }
            1 => 8,
            5 => 4,
            2 => {
                *count += 1;
                let len = usize::try_from(varint(&mut bytes)?).unwrap_or(usize::MAX);
                let content = bytes.get(..len).ok_or_else(truncated)?;
                if let Some(child) = child(message, tag >> 3) {
                    scan(content, child, depth + 1, count)?;
                }
                len
            }
            other => return Err(format!("wire type {other} is not in use")),
        };
        bytes = bytes.get(skip..).ok_or_else(truncated)?;
    }
    Ok(())
}

fn truncated() -> String {
    "the file ends in the middle of a field".into()
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(truncated)?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is longer than ten bytes".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_fields_are_counted() {
        // graph (7) { node (1) { input (1) "a" } }
        let file = [0x3a, 5, 0x0a, 3, 0x0a, 1, b'a'];
        assert_eq!(count_fields(&file), Ok(3));
        assert!(count_fields(&file[..6]).is_err());
    }
}
