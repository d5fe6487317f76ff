//! The vectors of embeddings: in which form they are asked for, and how vendors write them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tollgate_api::v1::{FloatVector, embedding::Vector};

use super::{json::Text, translate::unsupported, write::Object};
use crate::provider::{
    Error,
    vendors::{Forms, Vendor},
};

/// How the vectors of an answer are written, and what they are for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Form {
    /// Numbers, or base64 of little-endian 32-bit floats.
    Floats,
    /// Signed bytes, which the caller wants as floats.
    BytesAsFloats,
    /// Signed bytes.
    Bytes,
    /// Bits, eight to a byte.
    Bits,
}

/// Asks for vectors in the contract's encoding.
///
/// # Errors
/// `Unsupported` if the vendor has no such form.
pub(super) fn ask(body: &mut Object<'_>, encoding: &str, vendor: &Vendor) -> Result<Form, Error> {
    let (member, word, form) = match (vendor.embeddings.forms, encoding) {
        (Forms::EncodingFormat, "" | "float") => {
            ("encoding_format", vendor.embeddings.floats, Form::BytesAsFloats)
        }
        (_, "" | "float") => ("encoding_format", vendor.embeddings.floats, Form::Floats),
        (Forms::EncodingFormat, "int8") => ("encoding_format", "base64_int8", Form::Bytes),
        (Forms::EncodingFormat, "binary") => ("encoding_format", "base64_binary", Form::Bits),
        (Forms::OutputDtype, "int8") => ("output_dtype", "int8", Form::Bytes),
        // Unsigned: the bits as they are, without the offset of the signed form.
        (Forms::OutputDtype, "binary") => ("output_dtype", "ubinary", Form::Bits),
        (Forms::None, _) => return Err(unsupported("encoding", "it gives vectors of floats only")),
        (_, other) => return Err(unsupported("encoding", &format!("it gives no vectors of `{other}`"))),
    };
    body.text(member, word);
    Ok(form)
}

/// Reads a vector; None if it is not in that form.
pub(in crate::provider) fn read(json: &str, form: Form) -> Option<Vector> {
    let bytes = match json.starts_with('"') {
        true => Some(STANDARD.decode(serde_json::from_str::<Text<'_>>(json).ok()?.0.as_bytes()).ok()?),
        false => None,
    };
    Some(match form {
        Form::Floats => Vector::Dense(FloatVector {
            values: match bytes {
                Some(bytes) => floats(&bytes)?,
                None => serde_json::from_str(json).ok()?,
            },
        }),
        Form::Bits => Vector::PackedBits(match bytes {
            Some(bytes) => bytes.into(),
            None => serde_json::from_str::<Vec<u8>>(json).ok()?.into(),
        }),
        Form::Bytes | Form::BytesAsFloats => {
            let signed = match bytes {
                Some(bytes) => bytes.into_iter().map(u8::cast_signed).collect(),
                None => serde_json::from_str::<Vec<i8>>(json).ok()?,
            };
            if form == Form::BytesAsFloats {
                Vector::Dense(FloatVector { values: signed.into_iter().map(f32::from).collect() })
            } else {
                Vector::Int8(signed.into_iter().map(i8::cast_unsigned).collect::<Vec<u8>>().into())
            }
        }
    })
}

fn floats(bytes: &[u8]) -> Option<Vec<f32>> {
    if !bytes.len().is_multiple_of(4) {
        return None;
    }
    Some(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Kind, vendors::find};

    fn asked(vendor: &str, encoding: &str) -> Result<(String, Form), Error> {
        let mut json = String::new();
        let mut body = Object::begin(&mut json);
        let form = ask(&mut body, encoding, find(vendor).unwrap())?;
        body.end();
        Ok((json, form))
    }

    #[test]
    fn each_vendor_is_asked_in_its_own_words() {
        for (vendor, encoding, json, form) in [
            ("openai", "", r#"{"encoding_format":"base64"}"#, Form::Floats),
            ("together", "float", r#"{"encoding_format":"float"}"#, Form::Floats),
            ("voyage", "", r#"{"encoding_format":"base64"}"#, Form::Floats),
            ("voyage", "int8", r#"{"output_dtype":"int8"}"#, Form::Bytes),
            ("mistral", "binary", r#"{"output_dtype":"ubinary"}"#, Form::Bits),
            ("perplexity", "", r#"{"encoding_format":"base64_int8"}"#, Form::BytesAsFloats),
            ("perplexity", "binary", r#"{"encoding_format":"base64_binary"}"#, Form::Bits),
        ] {
            assert_eq!(asked(vendor, encoding).unwrap(), (json.to_owned(), form), "{vendor} {encoding}");
        }
        for (vendor, encoding) in [("openai", "int8"), ("voyage", "sparse")] {
            assert_eq!(asked(vendor, encoding).unwrap_err().kind, Kind::Unsupported);
        }
    }

    #[test]
    fn perplexitys_base64_holds_signed_bytes_not_floats() {
        let json = r#""1/8A807U0Es=""#;
        let expected = [-41.0, -1.0, 0.0, -13.0, 78.0, -44.0, -48.0, 75.0];
        assert_eq!(
            read(json, Form::BytesAsFloats),
            Some(Vector::Dense(FloatVector { values: expected.to_vec() }))
        );
        let Some(Vector::Int8(bytes)) = read(json, Form::Bytes) else { panic!() };
        assert_eq!(bytes[..2], [0xd7, 0xff]);
    }

    #[test]
    fn oa_embedding_base64_and_lists_are_read_in_every_form() {
        let base64 = STANDARD.encode([1.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
        let dense = |values: &[f32]| Some(Vector::Dense(FloatVector { values: values.to_vec() }));
        assert_eq!(read(&format!("\"{base64}\""), Form::Floats), dense(&[1.5, -2.0]));
        assert_eq!(read("[0.5,1]", Form::Floats), dense(&[0.5, 1.0]));
        assert_eq!(read("[-128,127]", Form::Bytes), Some(Vector::Int8(vec![0x80, 0x7f].into())));
        assert_eq!(read("[255,0]", Form::Bits), Some(Vector::PackedBits(vec![0xff, 0].into())));
        for (json, form) in [
            ("\"AAA\"", Form::Floats),
            ("\"AAAA\"", Form::Floats),
            ("[300]", Form::Bits),
            ("{}", Form::Bytes),
        ] {
            assert_eq!(read(json, form), None, "{json}");
        }
    }
}
