# arduino-cli is in no Debian release: this prints the JSON of version 1, results on standard output and what ends a command
# before it has one on standard error, and Debian's arduino-builder and avrdude do the work behind it.
verb=$1
case "$verb" in
version) echo '{"Application": "arduino-cli", "VersionString": "1.1.1", "Commit": "fa6eafcb", "Status": ""}' ;;
core) echo '{"platforms": [{"id": "arduino:avr", "installed_version": "1.8.6", "latest_version": "1.8.6"}]}' ;;
esac
while [ $# -gt 0 ]; do
    case "$1" in
    --fqbn) fqbn=$2; shift ;;
    --verify) verify=yes ;;
    --json) ;;
    --port) port=$2; shift ;;
    --input-dir) input=$2; shift ;;
    --output-dir) output=$2; shift ;;
    --build-path) build=$2; shift ;;
    --*)
        printf '{\n  "error": "unknown flag: %s"\n}\n' "$1" >&2
        exit 1
        ;;
    *) last=$1 ;;
    esac
    shift
done
quoted() { sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/ /g' "$1" | awk '{ printf "%s\\n", $0 }'; }
case "$verb" in
compile)
    case "$fqbn" in
    arduino:avr:*) ;;
    *)
        printf '{"compiler_out": "", "compiler_err": "", "builder_result": null, "upload_result": {}, "success": false,\n'
        printf ' "error": "Error during build: Platform %s not found: platform not installed\\nTry running `arduino-cli core install %s`"}\n' \
            "${fqbn%:*}" "${fqbn%:*}"
        exit 1
        ;;
    esac
    mkdir -p "$build" "$output"
    if arduino-builder -hardware /usr/share/arduino/hardware -hardware /usr/share/arduino-builder -tools /usr/bin \
        -tools /usr/share/arduino -fqbn "$fqbn" -prefs compiler.cpp.extra_flags=-DDECIMAL_DIG=17 -build-path "$build" \
        "$last/firmware.ino" > "$build.out" 2> "$build.err"; then
        cp "$build"/firmware.ino.* "$output"
        set -- $(avr-size "$build/firmware.ino.elf" | tail -n 1)
        printf '{"compiler_out": "%s", "compiler_err": "%s", "builder_result": {"build_path": "%s", "executable_sections_size": [\n' \
            "$(quoted "$build.out")" "$(quoted "$build.err")" "$build"
        printf ' {"name": "text", "size": %d, "max_size": 32256}, {"name": "data", "size": %d, "max_size": 2048}]},\n' \
            $(($1 + $2)) $(($2 + $3))
        printf ' "upload_result": {}, "success": true}\n'
    else
        printf '{"compiler_out": "%s", "compiler_err": "%s", "builder_result": null, "upload_result": {}, "success": false,\n' \
            "$(quoted "$build.out")" "$(quoted "$build.err")"
        printf ' "error": "Error during build: exit status 1"}\n'
        exit 1
    fi
    ;;
upload)
    # Without --verify the cores for AVR tell avrdude not to read back (-V).
    [ "$verify" = yes ] && noverify= || noverify=-V
    if avrdude -q $noverify -p m328p -c arduino -P "$port" -b 115200 -D -U "flash:w:$input/firmware.ino.hex:i" 2> "$input.err"; then
        printf '{"stdout": "", "stderr": "%s", "updated_upload_port": {"address": "%s", "protocol": "serial"}}\n' \
            "$(quoted "$input.err")" "$port"
    else
        printf '{"error": "Failed uploading: uploading error: exit status 1", "output": {"stdout": "", "stderr": "%s"}}\n' \
            "$(quoted "$input.err")" >&2
        exit 1
    fi
    ;;
esac
