namespace Ringfence.Host;

/// <summary>A few instructions that .NET has no name for, as a function; they stay for the life of the process.</summary>
public static unsafe class CodePages
{
    /// <exception cref="PlatformNotSupportedException">The host does not let a process run what it has written.</exception>
    public static nint Map(ReadOnlySpan<byte> code)
    {
        byte* address = LibC.MapCode(code);
        return address != null ? (nint)address : throw new PlatformNotSupportedException("the host does not let this process run code that it has made");
    }
}
