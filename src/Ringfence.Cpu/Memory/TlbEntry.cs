using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Memory;

/// <summary>
/// One entry of the software TLB. A tag is the linear address of the page if that kind of access may go straight to host memory, else a
/// value that no address with this entry's index can match. So one exclusive-or and one comparison check page, right and page crossing.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
public struct TlbEntry
{
    public ulong Read;
    public ulong Write;
    public ulong Execute;
    /// <summary>Host address minus linear address.</summary>
    public ulong Addend;
}
