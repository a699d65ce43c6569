using System.Text;

namespace Ringfence.Cli;

/// <summary>Writes through to a writer that outlives it.</summary>
internal sealed class UnclosedWriter(TextWriter inner) : TextWriter
{
    public override Encoding Encoding => inner.Encoding;

    public override void Write(char value) => inner.Write(value);

    public override void Write(string? value) => inner.Write(value);

    public override void WriteLine(string? value) => inner.WriteLine(value);

    public override void Flush() => inner.Flush();
}
