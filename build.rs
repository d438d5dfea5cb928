//! Compiles the libtorch shim and tells the linker where libtorch lies.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    for file in [
        "autograd.cpp",
        "for_every_processor.h",
        "read_sweep.cpp",
        "row_product.cpp",
        "row_product.h",
        "shim.cpp",
        "shim.h",
    ] {
        println!("cargo:rerun-if-changed=src/torch/{file}");
    }

    let lib = PathBuf::from(env::var_os("DEP_TCH_LIBTORCH_LIB").expect(
        "libtorch was not found: build through `make`, or put .venv/bin first in PATH and set LIBTORCH_USE_PYTORCH=1",
    ));
    let include = lib.parent().expect("libtorch's lib folder has a parent").join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .warnings(false)
        // Its loops matter in tests too.
        .opt_level(3)
        .flag("-fopenmp")
        .file("src/torch/autograd.cpp")
        .file("src/torch/read_sweep.cpp")
        .file("src/torch/row_product.cpp")
        .file("src/torch/shim.cpp")
        .compile("shutterbug_shim");

    // Binaries and tests find libtorch without LD_LIBRARY_PATH.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-link-search=native={}", lib.display());
    println!("cargo:rustc-link-lib=dylib=c10");
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib:+verbatim={}", openmp(&lib));
}

/// File name of the OpenMP library that libtorch brings along: a second one beside it would mean
/// a second set of threads.
fn openmp(lib: &Path) -> String {
    let files = fs::read_dir(lib).expect("libtorch's lib folder can be read");
    files
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("libgomp"))
        .unwrap_or_else(|| "libgomp.so.1".to_owned())
}
