using System.Runtime.InteropServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Interpreter.Handlers;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.Translator;

/// <summary>Ops at the border between interpreted and translated code.</summary>
internal static unsafe class NativeEntry
{
    /// <summary>Beside the number of bytes that <see cref="Locate"/> is asked for.</summary>
    public const int OnlyValue = 0x100;

    /// <summary>Runs translated code at <see cref="Op.Immediate"/> until it has a reason to come back. RIP is the block's start.</summary>
    public static Op* Enter(CpuState* s, Op* o)
    {
        s->Translated.Entries++;
        // Where translated code comes out is not where the link led that came here.
        s->LinkSlot = null;
        s->CodePage = s->Rip & ~(Region.PageBytes - 1UL);
        uint flags = Flags.GetArithmetic(s);
        s->HostFlags = (ushort)((flags << 8) | 0x200 | ((flags >> 11) & 1));
        Op* next = s->Translated.Enter(s, (nint)o->Immediate);
        TakeFlags(s);
        return NativeExits.IsMark(next) ? ((BlockTranslator)Processor.Of(s).Translator!).Exits.Follow((long)next) : next;
    }

    /// <summary>From <see cref="CpuState.HostFlags"/>.</summary>
    public static void TakeFlags(CpuState* s)
    {
        uint left = s->HostFlags;
        Flags.SetArithmetic(s, ((left >> 8) & (Flags.Arithmetic & 0xFF)) | ((left & 1) << 11));
    }

    /// <summary>Called by translated code: where an operand lies that neither its site nor the TLB knows; 0 if that is for the instruction's op to find out.</summary>
    /// <param name="bytes">Negative for a write; with <see cref="OnlyValue"/> if a device's register may be read now, and where a copy lies will do.</param>
    [UnmanagedCallersOnly]
    public static nint Locate(CpuState* s, ulong linear, Site* site, int bytes)
    {
        bool write = bytes < 0;
        Mmu mmu = Processor.Of(s).Mmu;
        if ((bytes & OnlyValue) != 0 && !write)
        {
            bytes &= ~OnlyValue;
            if (mmu.TryReadDevice(linear, bytes, s->Translated.Operand))
            {
                return (nint)s->Translated.Operand;
            }
        }
        s->Translated.TlbMisses++;
        TlbEntry* entry = mmu.Locate(linear, Math.Abs(bytes), write ? AccessKind.Write : AccessKind.Read);
        if (entry == null)
        {
            return 0;
        }
        if (s->Tlb == s->SiteTlb)
        {
            if (site->Tag == Site.Empty)
            {
                s->Translated.Filled[s->Translated.FilledCount++] = site;
            }
            site->Tag = write ? entry->Write : entry->Read;
            site->Addend = entry->Addend;
        }
        return (nint)(linear + entry->Addend);
    }

    public static bool IsEntry(Op* op) => op->Scale == HotBlock.Translated;

    /// <summary>An indirect jump, or one to another page, that did not find its target in the table.</summary>
    public static Op* Miss(CpuState* s, Op* o)
    {
        Op* next = ControlFlow.Dispatch(s);
        if (next != null && IsEntry(next))
        {
            JumpTableEntry* entry = BlockTranslator.JumpEntry(s, JumpTable.Index(s->Rip));
            if (entry->Linear == Site.Empty)
            {
                ref TranslatedState t = ref s->Translated;
                // An entry begins as a site does, and is forgotten as one.
                t.Filled[t.FilledCount++] = (Site*)entry;
            }
            entry->Linear = s->Rip;
            entry->Mode = s->Mode;
            entry->HostCode = next->Immediate;
        }
        return next;
    }
}
