using System.Runtime.CompilerServices;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.Models;
using Ringfence.Cpu.State;
using Ringfence.Cpu.Vector;
using Ringfence.Cpu.X87;
using Layout = Ringfence.Cpu.Models.ExtendedStateLayout;

namespace Ringfence.Cpu.Interpreter.Handlers;

/// <summary>
/// XSAVE, XRSTOR and their kin (SDM 1 13). Whether a component is in use is told from its values: it is not if they are the initial ones.
/// The optimization for what has not been modified is not made, which the manual permits.
/// </summary>
internal static unsafe class ExtendedState
{
    // Bits of Op.Extra.
    /// <summary>REX.W: 64-bit x87 pointers.</summary>
    public const byte IsWide = 1;
    /// <summary>XSAVEOPT: components not in use are not written.</summary>
    public const byte Optimizes = 2;
    /// <summary>XSAVEC, XSAVES: the compacted format.</summary>
    public const byte Compacts = 4;
    /// <summary>XSAVES, XRSTORS.</summary>
    public const byte IsSupervisor = 8;

    private const ulong Compacted = 1UL << 63;
    private const int MxcsrOffset = 24;
    private const int VectorOffset = 160;
    private const uint MxcsrInitial = 0x1F80;

    public static Op* Xgetbv(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.OsXsave) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        uint register = (uint)s->Gpr[1];
        if (register > 1 || (register == 1 && !Processor.Of(s).Model.Has(CpuFeature.Xgetbv1)))
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        ulong value = register == 0 ? s->Xcr0 : InUse(s, s->Xcr0);
        s->Gpr[0] = (uint)value;
        s->Gpr[2] = value >> 32;
        o++;
        return o->Handler(s, o);
    }

    public static Op* Xsetbv(CpuState* s, Op* o)
    {
        if ((s->Cr4 & ControlBits.OsXsave) == 0)
        {
            return Exits.Fault(s, o, Vectors.InvalidOpcode);
        }
        ulong value = (uint)s->Gpr[0] | (s->Gpr[2] << 32);
        if (s->Cpl != 0 || (uint)s->Gpr[1] != 0)
        {
            return Exits.Fault(s, o, Vectors.GeneralProtection);
        }
        return Processor.Of(s).Registers.WriteXcr0(value) ? Exits.After(s, o) : Exits.Abort(s, o);
    }

    /// <summary>XSAVE, XSAVEOPT, XSAVEC, XSAVES.</summary>
    public static Op* Save(CpuState* s, Op* o)
    {
        if (!MayStart(s, o) || !SaveTo(s, o, Wide.Linear(s, o)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>XRSTOR, XRSTORS.</summary>
    public static Op* Restore(CpuState* s, Op* o)
    {
        if (!MayStart(s, o) || !RestoreFrom(s, o, Wide.Linear(s, o)))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    /// <summary>XINUSE (SDM 1 13.6): those of some components that differ from their initial values. MXCSR does not count.</summary>
    private static ulong InUse(CpuState* s, ulong components) => components
        & ((X87InUse(s) ? Layout.X87 : 0) | (SseInUse(s) ? Layout.Sse : 0) | VectorComponents.InUse(s, components) | (s->Pkru != 0 ? Layout.Pkru : 0));

    private static bool X87InUse(CpuState* s)
    {
        X87State* f = &s->X87;
        bool differs = f->ControlWord != X87Control.Initial || f->StatusWord != 0 || f->Tags != 0 || f->Opcode != 0
            || (f->InstructionPointer | f->DataPointer) != 0 || (f->InstructionSelector | f->DataSelector) != 0;
        for (int i = 0; i < 8 && !differs; i++)
        {
            Float80 value = f->GetPhysical(i);
            differs = value.Significand != 0 || value.SignExponent != 0;
        }
        return differs;
    }

    /// <summary>Whether a vector register that the mode has is not 0 in its low 16 bytes.</summary>
    private static bool SseInUse(CpuState* s)
    {
        DoubleQuadword any = default;
        for (int i = 0; i < Registers(s); i++)
        {
            any |= *(DoubleQuadword*)(s->Vectors + (Slots.VectorBytes * i));
        }
        return any != default;
    }

    public static int Registers(CpuState* s) => (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64 ? 16 : 8;

    /// <summary>False: a fault is recorded.</summary>
    private static bool MayStart(CpuState* s, Op* o)
    {
        Vectors? fault = (s->Cr4 & ControlBits.OsXsave) == 0 ? Vectors.InvalidOpcode
            : (s->Cr0 & ControlBits.TaskSwitched) != 0 ? Vectors.DeviceNotAvailable
            : (o->Extra & IsSupervisor) != 0 && s->Cpl != 0 ? Vectors.GeneralProtection
            : (Wide.Linear(s, o) & 63) != 0 ? Vectors.GeneralProtection : null;
        if (fault is { } vector)
        {
            Exits.Record(s, vector);
        }
        return fault == null;
    }

    /// <summary>Outside 64-bit code: whether the area lies in its segment. Its size is not known before the instruction runs.</summary>
    private static bool FitsSegment(CpuState* s, Op* o, int size, bool write)
    {
        if (o->Segment == Slots.Zero || (s->Mode & CodeMode.BitsMask) == CodeMode.Bits64)
        {
            return true;
        }
        var segment = (SegmentRegister*)((byte*)s + o->Segment);
        if (SegmentGuard.Permits(s, segment, Plain.Linear(s, o) & o->AddressMask, (ulong)size, write))
        {
            return true;
        }
        Exits.Record(s, segment == &s->Ss ? Vectors.StackFault : Vectors.GeneralProtection);
        return false;
    }

    /// <summary>The components that both software and the system ask for: RFBM.</summary>
    private static ulong Requested(CpuState* s, ulong enabled) => enabled & ((uint)s->Gpr[0] | (s->Gpr[2] << 32));

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool SaveTo(CpuState* s, Op* o, ulong linear)
    {
        bool compacts = (o->Extra & Compacts) != 0;
        var layout = new Layout(Processor.Of(s).Model);
        ulong requested = Requested(s, s->Xcr0 | ((o->Extra & IsSupervisor) != 0 ? s->Xss : 0));
        // MXCSR counts where only the header tells whether it was saved (SDM 1 13.10).
        ulong used = InUse(s, requested) | (compacts && s->Mxcsr != MxcsrInitial ? requested & Layout.Sse : 0);
        ulong saved = (o->Extra & (Optimizes | Compacts)) != 0 ? used : requested;
        int size = compacts ? Layout.CompactSize(requested) : layout.Size(requested);
        return FitsSegment(s, o, size, true)
            && SaveLegacy(s, o, linear, saved, (compacts ? saved & Layout.Sse : requested & (Layout.Sse | Layout.Avx)) != 0)
            && SaveRest(s, linear, saved, new ComponentPlaces(layout, compacts ? requested : null))
            && (compacts
                ? Write(s, linear, Layout.HeaderOffset, used) && Write(s, linear, Layout.HeaderOffset + 8, requested | Compacted)
                : Read(s, linear, Layout.HeaderOffset, out ulong old) && Write(s, linear, Layout.HeaderOffset, (old & ~requested) | used));
    }

    private static bool SaveLegacy(CpuState* s, Op* o, ulong linear, ulong saved, bool mxcsr)
    {
        if ((saved & Layout.X87) != 0)
        {
            ulong* image = stackalloc ulong[20];
            StateImages.WriteX87(s, (byte*)image, (o->Extra & IsWide) != 0);
            for (int at = 0; at < 20; at++)
            {
                // MXCSR lies between.
                if (at != MxcsrOffset / 8 && !Write(s, linear, at * 8, image[at]))
                {
                    return false;
                }
            }
        }
        return (!mxcsr || Write(s, linear, MxcsrOffset, s->Mxcsr | ((ulong)Mxcsr.Writable << 32)))
            && ((saved & Layout.Sse) == 0 || WriteVectors(s, linear));
    }

    private static bool SaveRest(CpuState* s, ulong linear, ulong saved, in ComponentPlaces places)
    {
        for (int component = Layout.AvxNumber; component <= Layout.HighNumber; component++)
        {
            if (((saved >> component) & 1) != 0 && !VectorComponents.Save(s, component, linear + (ulong)places.Of(component)))
            {
                return false;
            }
        }
        return (saved & Layout.Pkru) == 0 || Write(s, linear, places.Of(Layout.PkruNumber), (ulong)s->Pkru);
    }

    private static bool WriteVectors(CpuState* s, ulong linear)
    {
        for (int i = 0; i < Registers(s); i++)
        {
            if (!Write(s, linear, VectorOffset + (16 * i), *(DoubleQuadword*)(s->Vectors + (Slots.VectorBytes * i))))
            {
                return false;
            }
        }
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool RestoreFrom(CpuState* s, Op* o, ulong linear)
    {
        ulong enabled = s->Xcr0 | ((o->Extra & IsSupervisor) != 0 ? s->Xss : 0);
        ulong requested = Requested(s, enabled);
        ulong* header = stackalloc ulong[8];
        if (!FitsSegment(s, o, Layout.HeaderEnd, false) || !Fetch(s, linear, Layout.HeaderOffset, 8, header))
        {
            return false;
        }
        var layout = new Layout(Processor.Of(s).Model);
        ulong present = header[0];
        ulong components = header[1] & ~Compacted;
        bool compacted = (header[1] & Compacted) != 0;
        if (!FitsSegment(s, o, compacted ? Layout.CompactSize(components) : layout.Size(requested), false))
        {
            return false;
        }
        if (!IsGood(s, o, header, enabled))
        {
            Exits.Record(s, Vectors.GeneralProtection);
            return false;
        }
        var places = new ComponentPlaces(layout, compacted ? components : null);
        // MXCSR is of SSE; in the standard format it is loaded with SSE or AVX, whether they are in the area or not.
        bool mxcsr = compacted ? (requested & present & Layout.Sse) != 0 : (requested & (Layout.Sse | Layout.Avx)) != 0;
        return Load(s, o, linear, requested, requested & present, mxcsr, compacted, places);
    }

    /// <summary>The checks of the header (SDM 1 13.8, 13.12).</summary>
    private static bool IsGood(CpuState* s, Op* o, ulong* header, ulong enabled)
    {
        ulong rest = header[3] | header[4] | header[5] | header[6] | header[7];
        if ((header[1] & Compacted) == 0)
        {
            return (o->Extra & IsSupervisor) == 0 && (header[0] & ~s->Xcr0) == 0 && (header[1] | header[2]) == 0;
        }
        CpuModel model = Processor.Of(s).Model;
        ulong components = header[1] & ~Compacted;
        return (model.Has(CpuFeature.XsaveC) || model.Has(CpuFeature.XsaveS)) && (components & ~enabled) == 0 && (header[0] & ~components) == 0
            && (header[2] | rest) == 0;
    }

    /// <summary>Everything is read before anything is changed.</summary>
    private static bool Load(CpuState* s, Op* o, ulong linear, ulong requested, ulong loaded, bool loadsMxcsr, bool compacted, in ComponentPlaces places)
    {
        ulong* x87 = stackalloc ulong[20];
        ulong* low = stackalloc ulong[32];
        byte* rest = stackalloc byte[VectorComponents.Room(requested)];
        ulong pkru = 0;
        ulong mxcsr = MxcsrInitial;
        int words = 2 * Registers(s);
        if (((loaded & Layout.X87) != 0 && !Fetch(s, linear, 0, 20, x87))
            || (loadsMxcsr && !Read(s, linear, MxcsrOffset, out mxcsr))
            || ((loaded & Layout.Sse) != 0 && !Fetch(s, linear, VectorOffset, words, low))
            || !VectorComponents.Fetch(s, linear, loaded, places, rest)
            || ((loaded & Layout.Pkru) != 0 && !Read(s, linear, places.Of(Layout.PkruNumber), out pkru)))
        {
            return false;
        }
        if (((uint)mxcsr & ~Mxcsr.Writable) != 0)
        {
            Exits.Record(s, Vectors.GeneralProtection);
            return false;
        }
        if ((loaded & Layout.X87) != 0)
        {
            X87Image.ReadFxsave(ref s->X87, new ReadOnlySpan<byte>(x87, 160), (o->Extra & IsWide) != 0);
        }
        else if ((requested & Layout.X87) != 0)
        {
            s->X87 = default;
            s->X87.Initialize();
        }
        if (loadsMxcsr || (compacted && (requested & Layout.Sse) != 0))
        {
            s->Mxcsr = (uint)mxcsr;
        }
        // What is requested and not loaded is 0 in the buffers.
        for (int i = 0; i < Registers(s) && (requested & Layout.Sse) != 0; i++)
        {
            var register = (ulong*)(s->Vectors + (Slots.VectorBytes * i));
            register[0] = low[2 * i];
            register[1] = low[(2 * i) + 1];
        }
        VectorComponents.Load(s, requested, rest);
        if ((requested & Layout.Pkru) != 0)
        {
            Processor.Of(s).Registers.WritePkru((uint)pkru);
        }
        return true;
    }

    private static bool Fetch(CpuState* s, ulong linear, int offset, int words, ulong* to)
    {
        for (int i = 0; i < words; i++)
        {
            if (!Read(s, linear, offset + (8 * i), out to[i]))
            {
                return false;
            }
        }
        return true;
    }

    private static bool Read(CpuState* s, ulong linear, int offset, out ulong value) =>
        GuestAccess.Read(s, (linear + (ulong)offset) & s->LinearMask, out value);

    private static bool Write<T>(CpuState* s, ulong linear, int offset, T value) => GuestAccess.Write(s, (linear + (ulong)offset) & s->LinearMask, value);
}
