//! Tests of forms with files.

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::*;

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=XX"))])
}

/// A part with these parameters of its header `content-disposition`.
fn part(parameters: &str, content: &str) -> String {
    format!("--XX\r\nContent-Disposition: form-data; {parameters}\r\n\r\n{content}\r\n")
}

fn read(body: &str) -> Result<Multipart, String> {
    Multipart::in_memory(&headers(), body.as_bytes()).map_err(|error| error.to_string())
}

fn one(parameters: &str) -> Result<Multipart, String> {
    read(&(part(parameters, "x") + "--XX--\r\n"))
}

#[test]
fn texts_and_files_are_told_apart() {
    let file =
        "--XX\r\nContent-Disposition: form-data; name=\"a\"; filename=\"a.bin\"\r\nContent-Type: image/png\r\n\r\n";
    let form = read(&format!("{}{file}\r\n--\r\n{}--XX--", part("name=a", "é\r\n"), "\r\n")).unwrap();
    let [text, file] = form.parts() else { panic!("{form:?}") };
    assert_eq!((text.name(), text.text(), text.is_file(), text.file_name()), ("a", Some("é\r\n"), false, None));
    assert_eq!((file.file_name(), file.content_type(), file.text()), (Some("a.bin"), Some("image/png"), None));
    assert_eq!(
        (form.text("a"), form.file("a").unwrap().bytes().unwrap().as_ref()),
        (Some("é\r\n"), &b"\r\n--\r\n"[..])
    );
    assert_eq!((form.text("b"), form.named("a").count(), file.size()), (None, 2, 6));
    assert!(read("--XX--\r\n").unwrap().parts().is_empty());
}

#[test]
fn a_file_name_is_a_last_component_at_most() {
    for (parameters, name) in [
        (r#"name=a; filename="../../etc/passwd""#, "passwd"),
        (r#"name=a; filename="C:\Users\me\a.txt""#, "a.txt"),
        (r#"name=a; filename="..""#, ""),
        (r#"name=a; filename="x/""#, ""),
        ("name=a; filename=\"\"", ""),
        ("name=a; filename=\"a\tb\u{85}\"", "ab"),
        (r#"filename="; name=b; \"x"; name="a""#, "; name=b; \"x"),
        ("name=a; filename=\"naive.txt\"; filename*=UTF-8''na%C3%AFve.txt", "naïve.txt"),
        ("name=a; FileName*=utf-8''na%C3%AFve%2F..%2Fx.txt", "x.txt"),
    ] {
        let form = one(parameters).unwrap();
        assert_eq!(form.file("a").unwrap().file_name(), Some(name), "{parameters}");
    }
}

#[test]
fn what_is_not_valid_is_told_with_its_part() {
    let told = |body: &str| read(body).unwrap_err();
    for cut in ["", "x", "--X", "--XX", "--XX\r\n", "--XX\r\nContent-", "--XY--\r\n"] {
        assert!(told(cut).contains("part 1 is cut short"), "{cut:?}: {}", told(cut));
    }
    assert!(told(&part("name=a", "x")).contains("part 1 is cut short"));
    assert!(told(&(part("name=a", "x") + &part("name=b", "x")[..50])).contains("part 2 is cut short"));
    for (parameters, says) in [
        ("filename=a", "part 1: its header content-disposition has no name"),
        ("name=a; name=b", "has `name` twice"),
        ("name=a; filename=b; FileName=c", "has `filename` twice"),
        ("name=\"a", "no quotation mark at its end"),
        ("name=\"a\"b; filename=c", "text after a quotation mark"),
        ("name", "has no value"),
        ("name*=latin1''a", "is not UTF-8"),
    ] {
        let error = one(parameters).unwrap_err();
        assert!(error.starts_with("the body is not valid multipart/form-data: ") && error.contains(says), "{error}");
    }
    assert!(told("--XX\r\nContent-Type: a/b\r\n\r\nx\r\n--XX--").contains("no header content-disposition"));
    assert!(told("--XX\r\nContent Disposition: a\r\n\r\nx\r\n--XX--").contains("headers of part 1"));
}

#[test]
fn parts_names_and_headers_are_bounded() {
    let many = |count| read(&(part("name=a", "x").repeat(count) + "--XX--"));
    assert_eq!(many(1000).unwrap().parts().len(), 1000);
    assert!(many(1001).unwrap_err().contains("more than 1000 parts"));
    assert!(one(&format!("name={}", "a".repeat(255))).is_ok());
    assert!(one(&format!("name={}", "a".repeat(256))).unwrap_err().contains("256 bytes, and 255"));
    assert!(one(&format!("name=a; filename={}", "a".repeat(256))).unwrap_err().contains("256 bytes, and 255"));
    assert!(one(&format!("name=a; x={}", "a".repeat(8 << 10))).unwrap_err().contains("8192 are allowed"));
    let text = read(&(part("name=\"a\"", &"x".repeat(IN_MEMORY + 1)) + "--XX--")).unwrap_err();
    assert!(text.starts_with("a: the text has 1048577 bytes"), "{text}");
    let mut bytes = part("name=a", "\u{1}").into_bytes();
    bytes.iter_mut().filter(|byte| **byte == 1).for_each(|byte| *byte = 0xff);
    bytes.extend(b"--XX--");
    let error = Multipart::in_memory(&headers(), &bytes).unwrap_err().to_string();
    assert!(error.starts_with("a: the text is not UTF-8"), "{error}");
}

#[test]
fn a_boundary_is_wanted() {
    for (content_type, is_right) in [
        ("multipart/form-data; boundary=XX", true),
        ("Multipart/Form-Data; charset=utf-8; boundary=\"a b\"", true),
        ("multipart/form-data", false),
        ("multipart/form-data; boundary=", false),
        ("multipart/mixed; boundary=XX", false),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        assert_eq!(boundary(&headers).is_ok(), is_right, "{content_type}");
    }
    let long = HeaderValue::from_str(&format!("multipart/form-data; boundary={}", "X".repeat(71))).unwrap();
    assert!(boundary(&HeaderMap::from_iter([(CONTENT_TYPE, long)])).is_err());
}

#[tokio::test]
async fn a_large_file_is_on_disk_until_the_last_copy_is_gone() {
    let content = "x".repeat(IN_MEMORY + 1);
    let body = part("name=a; filename=\"/a\"", &content)
        + &part("name=b; filename=b", &content[1..])
        + &part("name=c", "text")
        + "--XX--\r\n";
    let form = Multipart::on_disk(&headers(), body.as_bytes()).unwrap();
    let (large, small) = (form.file("a").unwrap(), form.file("b").unwrap());
    let path = large.path().unwrap().to_owned();
    assert_eq!((large.bytes(), large.size(), small.path()), (None, 1_048_577, None));
    assert_eq!(large.read().await.unwrap(), content);
    assert_eq!(small.read().await.unwrap(), content[1..]);
    assert_eq!(form.text("c"), Some("text"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    let copy = form.clone();
    drop(form);
    assert!(path.exists());
    drop(copy);
    assert!(!path.parent().unwrap().exists());
}
