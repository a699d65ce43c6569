using System.Runtime.InteropServices;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Tests.Vector;
using ArithmeticFlags = Ringfence.Cpu.State.Flags;

namespace Ringfence.Cpu.Tests.Avx512;

/// <summary>What an AVX-512 instruction starts from or ends in, shared by the host's run and the guest's.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct WideImage
{
    public const int VectorBytes = 32 * 64;
    public const int OpmaskOffset = VectorBytes;
    public const int GprOffset = OpmaskOffset + 64;
    public const int FlagsOffset = GprOffset + 128;
    public const int MxcsrOffset = FlagsOffset + 8;
    public const int HostMxcsrOffset = MxcsrOffset + 4;

    public fixed byte Zmm[VectorBytes];
    public fixed ulong Opmask[8];
    public fixed ulong Gpr[16];
    public ulong Flags;
    public uint Mxcsr;
    public uint HostMxcsr;

    /// <summary>A random one, with all exceptions masked.</summary>
    public static WideImage Of(Random random)
    {
        MachineImage narrow;
        Operands.Fill(&narrow, random);
        WideImage image = default;
        Operands.FillVector(new Span<byte>(image.Zmm, VectorBytes), random);
        for (int i = 0; i < 8; i++)
        {
            image.Opmask[i] = random.Next(6) switch { 0 => 0, 1 => ulong.MaxValue, 2 => (ulong)random.Next(), _ => (ulong)random.NextInt64() << 1 };
        }
        for (int i = 0; i < 15; i++)
        {
            image.Gpr[i] = narrow.Gpr[i];
        }
        image.Flags = narrow.Flags;
        image.Mxcsr = narrow.Mxcsr;
        return image;
    }

    public void Load(CpuState* s)
    {
        fixed (byte* zmm = Zmm)
        fixed (ulong* opmask = Opmask)
        {
            Buffer.MemoryCopy(zmm, s->Vectors, VectorBytes, VectorBytes);
            Buffer.MemoryCopy(opmask, s->Opmasks, 64, 64);
        }
        for (int i = 0; i < 16; i++)
        {
            s->Gpr[i] = Gpr[i];
        }
        s->Mxcsr = Mxcsr;
        ArithmeticFlags.SetArithmetic(s, (uint)Flags & 0x8D5);
    }

    public void Store(CpuState* s)
    {
        fixed (byte* zmm = Zmm)
        fixed (ulong* opmask = Opmask)
        {
            Buffer.MemoryCopy(s->Vectors, zmm, VectorBytes, VectorBytes);
            Buffer.MemoryCopy(s->Opmasks, opmask, 64, 64);
        }
        for (int i = 0; i < 16; i++)
        {
            Gpr[i] = s->Gpr[i];
        }
        Mxcsr = s->Mxcsr;
        Flags = ArithmeticFlags.GetArithmetic(s);
    }

    /// <summary>What differs, or null. RSP, RSI, RDI and R15 have a role in the host's harness.</summary>
    public static string? Difference(WideImage* host, WideImage* guest)
    {
        for (int i = 0; i < 32; i++)
        {
            var a = new ReadOnlySpan<byte>(host->Zmm + (64 * i), 64);
            var b = new ReadOnlySpan<byte>(guest->Zmm + (64 * i), 64);
            if (!a.SequenceEqual(b))
            {
                return $"zmm{i} {Convert.ToHexString(a)} not {Convert.ToHexString(b)}";
            }
        }
        for (int i = 0; i < 8; i++)
        {
            if (host->Opmask[i] != guest->Opmask[i])
            {
                return $"k{i} {host->Opmask[i]:x} not {guest->Opmask[i]:x}";
            }
        }
        for (int i = 0; i < 15; i++)
        {
            if (i is not (4 or 6 or 7) && host->Gpr[i] != guest->Gpr[i])
            {
                return $"gpr{i} {host->Gpr[i]:x} not {guest->Gpr[i]:x}";
            }
        }
        return ((host->Flags ^ guest->Flags) & 0x8D5) != 0 ? $"flags {host->Flags & 0x8D5:x} not {guest->Flags & 0x8D5:x}"
            : host->Mxcsr != guest->Mxcsr ? $"mxcsr {host->Mxcsr:x} not {guest->Mxcsr:x}" : null;
    }
}
