using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Vector;
using Ringfence.Cpu.Vector.Vex;

namespace Ringfence.Cpu.Translator;

/// <summary>
/// Executes instructions that have no handler of the interpreter's: the host runs them one at a time, on a copy of their memory operand. What of it is
/// touched is found out, and faults, before. So they run where translated code does not: before it is worth translating, for a fault, a device,
/// a page's end, code that is written to, single steps, exceptions that the guest has unmasked.
/// </summary>
internal static unsafe class PassedOnHandlers
{
    public static Op* Run(CpuState* s, Op* o)
    {
        if (!Execute(s, o, (PassedOnInstruction*)(o + 1)))
        {
            return Exits.Abort(s, o);
        }
        o += 2;
        return o->Handler(s, o);
    }

    /// <summary>VPGATHER and its kin: each element that has been loaded clears its bit of the mask, so that after a fault the instruction goes on where it
    /// was (SDM 2 VPGATHERDD).</summary>
    public static Op* Gather(CpuState* s, Op* o)
    {
        if (!MoveElements(s, o, (PassedOnInstruction*)(o + 1), false))
        {
            return Exits.Abort(s, o);
        }
        o += 2;
        return o->Handler(s, o);
    }

    /// <summary>VPSCATTER and its kin, likewise. Of elements at one place the last stays.</summary>
    public static Op* Scatter(CpuState* s, Op* o)
    {
        if (!MoveElements(s, o, (PassedOnInstruction*)(o + 1), true))
        {
            return Exits.Abort(s, o);
        }
        o += 2;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool Execute(CpuState* s, Op* o, PassedOnInstruction* i)
    {
        ulong chosen = 0;
        if (i->Bytes != 0)
        {
            chosen = i->Chosen(s);
            ulong touched = i->Is(PassedOnTraits.Suppresses) ? chosen : i->All;
            if (!Prepare(s, o, i, touched))
            {
                return false;
            }
        }
        if (i->Is(PassedOnTraits.ReadsRegister))
        {
            s->Translated.Spill = *(ulong*)((byte*)s + i->Register);
        }
        if (!Compute(s, i))
        {
            return false;
        }
        if (i->Is(PassedOnTraits.Stores) && !Transfer(s, o, i, chosen, AccessKind.Write))
        {
            return false;
        }
        if (i->Is(PassedOnTraits.WritesRegister))
        {
            *(ulong*)((byte*)s + i->Register) = s->Translated.Spill;
        }
        if (i->Is(PassedOnTraits.WritesFlags))
        {
            NativeEntry.TakeFlags(s);
        }
        return true;
    }

    /// <summary>Reads what is touched, or makes sure that it may be written.</summary>
    private static bool Prepare(CpuState* s, Op* o, PassedOnInstruction* i, ulong touched)
    {
        if (touched != 0 && i->Alignment != 0 && (Wide.Linear(s, o) & (ulong)(i->Alignment - 1)) != 0)
        {
            Exits.Record(s, Vectors.GeneralProtection);
            return false;
        }
        return i->Is(PassedOnTraits.Stores) ? Pieces(s, o, i, touched, &Check) : Transfer(s, o, i, touched, AccessKind.Read);
    }

    private static bool Transfer(CpuState* s, Op* o, PassedOnInstruction* i, ulong bytes, AccessKind kind) =>
        Pieces(s, o, i, bytes, kind == AccessKind.Read ? &Read : &Write);

    /// <summary>All at once if all of it is meant, else element by element.</summary>
    private static bool Pieces(CpuState* s, Op* o, PassedOnInstruction* i, ulong bytes, delegate*<CpuState*, ulong, int, byte*, bool> access)
    {
        bool write = i->Is(PassedOnTraits.Stores);
        ulong offset = Plain.Linear(s, o);
        byte* operand = (byte*)s + StateOffsets.Operand;
        int step = bytes == i->All ? i->Bytes : i->ElementBytes;
        for (int at = 0; at < i->Bytes; at += step)
        {
            if (((bytes >> at) & 1) != 0
                && !(MaskedMove.Locate(s, o, offset + (ulong)at, step, write, out ulong linear) && access(s, linear, step, operand + at)))
            {
                return false;
            }
        }
        return true;
    }

    private static bool Check(CpuState* s, ulong linear, int size, byte* operand) => SlowAccess.MayWrite(s, linear, size);

    private static bool Read(CpuState* s, ulong linear, int size, byte* operand) =>
        Processor.Of(s).Mmu.Access(linear, size, AccessKind.Read, AccessKind.Read, operand);

    private static bool Write(CpuState* s, ulong linear, int size, byte* operand) =>
        Processor.Of(s).Mmu.Access(linear, size, AccessKind.Write, AccessKind.Write, operand);

    /// <summary>With exceptions unmasked the host runs with all of them masked and their flags clear; if it then has raised one that is not, everything
    /// is as it was but for the flags (SDM 1 11.5.3).</summary>
    private static bool Compute(CpuState* s, PassedOnInstruction* i)
    {
        const uint Masks = Mxcsr.Flags << Mxcsr.MaskShift;
        PassedOnCode code = ((BlockTranslator)Processor.Of(s).Translator!).PassedOn;
        if ((s->Mxcsr & Masks) == Masks)
        {
            code.Run(s, i);
            return true;
        }
        FloatStatus status = new(s);
        RegisterImage before = default;
        before.Take(s);
        ulong register = s->Translated.Spill;
        uint tiny = 0;
        if (!status.Masks(Mxcsr.Underflow))
        {
            // Unmasked, underflow is raised for exact results too (SDM 1 4.9.1.5); to the host these count if it is to flush them.
            s->Mxcsr = (status.Control | Masks | Mxcsr.FlushToZero) & ~Mxcsr.Flags;
            code.Run(s, i);
            tiny = s->Mxcsr & Mxcsr.Underflow;
            before.Put(s);
            s->Translated.Spill = register;
        }
        // Tiny results are flushed only while underflow is masked (SDM 1 10.2.3.3).
        uint flush = status.Masks(Mxcsr.Underflow) ? 0 : Mxcsr.FlushToZero;
        s->Mxcsr = (status.Control | Masks) & ~(Mxcsr.Flags | flush);
        code.Run(s, i);
        status.Raised = (s->Mxcsr & Mxcsr.Flags) | tiny;
        if (!status.IsMasked)
        {
            before.Put(s);
        }
        s->Mxcsr = status.Control;
        return status.Commit(s);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool MoveElements(CpuState* s, Op* o, PassedOnInstruction* i, bool store)
    {
        ulong start = *(ulong*)((byte*)s + o->Base) + (ulong)o->Displacement;
        byte* index = (byte*)s + o->Index;
        byte* vector = (byte*)s + i->Register;
        ulong* mask = s->Opmasks + i->Mask;
        for (int n = 0; n < i->Elements; n++)
        {
            if (((*mask >> n) & 1) == 0)
            {
                continue;
            }
            long at = i->Bytes == sizeof(int) ? ((int*)index)[n] : ((long*)index)[n];
            byte* element = vector + (n * i->ElementBytes);
            if (!MaskedMove.Locate(s, o, start + ((ulong)at << o->Scale), i->ElementBytes, store, out ulong linear)
                || !(store ? Write(s, linear, i->ElementBytes, element) : Read(s, linear, i->ElementBytes, element)))
            {
                return false;
            }
            *mask &= ~(1UL << n);
        }
        *mask = 0;
        if (!store)
        {
            VexHandlers.Clear(vector, i->Elements * i->ElementBytes);
        }
        return true;
    }
}
