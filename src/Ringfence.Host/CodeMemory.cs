namespace Ringfence.Host;

/// <summary>
/// Memory for generated code, mapped twice: once to write and once to run, so that no page is ever both. Only on Linux, and where the host lets a
/// process run what it has written.
/// </summary>
public sealed unsafe class CodeMemory : IDisposable
{
    /// <param name="size">Bytes, a multiple of the page size. Pages are taken from the host when they are first written.</param>
    /// <exception cref="InsufficientMemoryException">The host refuses.</exception>
    public CodeMemory(int size)
    {
        Size = size;
        Write = LibC.MapTwice((ulong)size, out byte* execute);
        Execute = execute;
    }

    ~CodeMemory() => Free();

    public int Size { get; }

    /// <summary>Where code is written.</summary>
    public byte* Write { get; private set; }

    /// <summary>Where the same bytes are run.</summary>
    public byte* Execute { get; private set; }

    /// <summary>What was written up to an offset will hardly be written again: the pages stay, but for running only until they are. So they are not counted twice
    /// as this process's.</summary>
    public void ReleaseWritten(int from, int to) => LibC.Discard(Write + from, (ulong)(to - from));

    /// <summary>Gives the host back what lies from an offset on, a multiple of the page size: nothing there is run any more.</summary>
    public void GiveBack(int from) => LibC.Remove(Write + from, (ulong)(Size - from));

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (Write != null)
        {
            LibC.Unmap(Write, (ulong)Size);
            LibC.Unmap(Execute, (ulong)Size);
            Write = Execute = null;
        }
    }
}
