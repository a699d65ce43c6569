using System.Runtime.InteropServices;

namespace Ringfence.Cpu.Tests.Vector;

/// <summary>What an instruction starts from or ends in: shared by the host's run and the interpreter's.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct MachineImage
{
    /// <summary>16 registers of 32 bytes.</summary>
    public fixed byte Ymm[16 * 32];
    public fixed ulong Mm[8];
    public fixed ulong Gpr[16];
    public ulong Flags;
    public uint Mxcsr;
    public uint HostMxcsr;
}

/// <summary>Runs one instruction on the host processor: machine code that loads an image, executes, and stores the image back.</summary>
internal sealed unsafe class HostThunk : IDisposable
{
    private const int CodeBytes = 8192;
    private const int MmOffset = 512;
    private const int GprOffset = 576;
    private const int FlagsOffset = 704;
    private const int MxcsrOffset = 712;
    private const int HostMxcsrOffset = 716;
    private readonly byte* _code;

    public HostThunk() => _code = (byte*)mmap(null, CodeBytes, 7, 0x22, -1, 0);

    /// <summary>Where <see cref="Compile"/> puts the instruction is not known before: it must not be relative to RIP.</summary>
    public void Compile(ReadOnlySpan<byte> instruction)
    {
        var code = new List<byte>();
        void Emit(params byte[] bytes) => code.AddRange(bytes);
        void Offset(int value) => code.AddRange(BitConverter.GetBytes(value));
        // push rbx, rbp, r12-r15; the image stays in r15.
        Emit(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x49, 0x89, 0xFF);
        Emit(0x41, 0x0F, 0xAE, 0x9F);
        Offset(HostMxcsrOffset);
        for (int i = 0; i < 8; i++)
        {
            // movq mmI, [r15 + ..]
            Emit(0x41, 0x0F, 0x6F, (byte)(0x87 | (i << 3)));
            Offset(MmOffset + (8 * i));
        }
        for (int i = 0; i < 16; i++)
        {
            // vmovups ymmI, [r15 + ..]
            Emit(0xC4, (byte)(i < 8 ? 0xC1 : 0x41), 0x7C, 0x10, (byte)(0x87 | ((i & 7) << 3)));
            Offset(32 * i);
        }
        Emit(0x41, 0xFF, 0xB7);
        Offset(FlagsOffset);
        Emit(0x9D);
        for (int i = 0; i < 15; i++)
        {
            if (i != 4)
            {
                // mov gprI, [r15 + ..]
                Emit((byte)(i < 8 ? 0x49 : 0x4D), 0x8B, (byte)(0x87 | ((i & 7) << 3)));
                Offset(GprOffset + (8 * i));
            }
        }
        Emit(0x41, 0x0F, 0xAE, 0x97);
        Offset(MxcsrOffset);
        code.AddRange(instruction);
        Emit(0x41, 0x0F, 0xAE, 0x9F);
        Offset(MxcsrOffset);
        Emit(0x41, 0x0F, 0xAE, 0x97);
        Offset(HostMxcsrOffset);
        for (int i = 0; i < 15; i++)
        {
            if (i != 4)
            {
                Emit((byte)(i < 8 ? 0x49 : 0x4D), 0x89, (byte)(0x87 | ((i & 7) << 3)));
                Offset(GprOffset + (8 * i));
            }
        }
        Emit(0x9C, 0x41, 0x8F, 0x87);
        Offset(FlagsOffset);
        for (int i = 0; i < 8; i++)
        {
            Emit(0x41, 0x0F, 0x7F, (byte)(0x87 | (i << 3)));
            Offset(MmOffset + (8 * i));
        }
        for (int i = 0; i < 16; i++)
        {
            Emit(0xC4, (byte)(i < 8 ? 0xC1 : 0x41), 0x7C, 0x11, (byte)(0x87 | ((i & 7) << 3)));
            Offset(32 * i);
        }
        // vzeroupper; emms; pop what was pushed; ret
        Emit(0xC5, 0xF8, 0x77, 0x0F, 0x77, 0x41, 0x5F, 0x41, 0x5E, 0x41, 0x5D, 0x41, 0x5C, 0x5D, 0x5B, 0xC3);
        CollectionsMarshal.AsSpan(code).CopyTo(new Span<byte>(_code, CodeBytes));
    }

    public void Run(MachineImage* image) => ((delegate* unmanaged<MachineImage*, void>)_code)(image);

    public void Dispose() => _ = munmap(_code, CodeBytes);

    [DllImport("libc")]
    private static extern void* mmap(void* address, nuint length, int protection, int flags, int descriptor, nint offset);

    [DllImport("libc")]
    private static extern int munmap(void* address, nuint length);
}
