"""Write the client's generated modules: `make client`."""

from tools.client.package import HOME, generated, present


def main() -> None:
    """Write what is made from the present document, and delete what no longer is."""
    wanted = generated()
    for name in sorted(present() - set(wanted)):
        (HOME / name).unlink()
        print(f"deleted {name}")
    for name, text in sorted(wanted.items()):
        path = HOME / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {name}")


if __name__ == "__main__":
    main()
