using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.X87;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>FXSAVE and FXRSTOR (SDM 1 10.5): 512 bytes, 16-byte aligned. <see cref="Op.Extra"/> is 8 with REX.W.</summary>
internal static unsafe class StateImages
{
    private const int Bytes = 512;
    private const uint MxcsrMask = 0xFFFF;

    public static Op* Fxsave(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        if ((linear & 15) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        byte* image = stackalloc byte[Bytes];
        new Span<byte>(image, Bytes).Clear();
        WriteImage(s, image, o->Extra == 8);
        // 416 bytes are written: the rest is software's.
        for (int at = 0; at < 416; at += 16)
        {
            if (!GuestAccess.Write(s, linear + (ulong)at, *(DoubleQuadword*)(image + at)))
            {
                return Exits.Abort(s, o);
            }
        }
        return Exits.After(s, o);
    }

    public static Op* Fxrstor(CpuState* s, Op* o)
    {
        ulong linear = Wide.Linear(s, o);
        if ((linear & 15) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        byte* image = stackalloc byte[Bytes];
        for (int at = 0; at < Bytes; at += 16)
        {
            if (!GuestAccess.Read(s, linear + (ulong)at, out DoubleQuadword part))
            {
                return Exits.Abort(s, o);
            }
            *(DoubleQuadword*)(image + at) = part;
        }
        bool sse = (s->Cr4 & ControlBits.OsFxsr) != 0;
        if (sse && (*(uint*)(image + 24) & ~MxcsrMask) != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ReadImage(s, image, o->Extra == 8, sse);
        return Exits.After(s, o);
    }

    /// <summary>Bytes 0 to 23 and 32 to 159 of an FXSAVE or XSAVE area. AMD's processors save opcode and pointers only for an exception that
    /// waits, else 0 (APM 2 11.4.4); Intel's always.</summary>
    public static void WriteX87(CpuState* s, byte* image, bool wide)
    {
        bool pointers = X87Unit.HasPendingException(&s->X87) || Processor.Of(s).Model.IsIntel;
        X87Image.WriteFxsave(in s->X87, new Span<byte>(image, 160), wide, pointers);
    }

    private static void WriteImage(CpuState* s, byte* image, bool wide)
    {
        WriteX87(s, image, wide);
        *(uint*)(image + 24) = s->Mxcsr;
        *(uint*)(image + 28) = MxcsrMask;
        int registers = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? 16 : 8;
        for (int i = 0; i < registers && (s->Cr4 & ControlBits.OsFxsr) != 0; i++)
        {
            *(DoubleQuadword*)(image + 160 + (16 * i)) = *(DoubleQuadword*)(s->Vectors + (Slots.VectorBytes * i));
        }
    }

    private static void ReadImage(CpuState* s, byte* image, bool wide, bool sse)
    {
        X87Image.ReadFxsave(ref s->X87, new ReadOnlySpan<byte>(image, 160), wide);
        if (!sse)
        {
            return;
        }
        s->Mxcsr = *(uint*)(image + 24);
        int registers = (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? 16 : 8;
        for (int i = 0; i < registers; i++)
        {
            *(DoubleQuadword*)(s->Vectors + (Slots.VectorBytes * i)) = *(DoubleQuadword*)(image + 160 + (16 * i));
        }
    }
}
