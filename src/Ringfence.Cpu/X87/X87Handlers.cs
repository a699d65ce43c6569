using System.Runtime.CompilerServices;
using Ringfence.Cpu.Interpreter;
using Ringfence.Cpu.Memory;
using Ringfence.Cpu.State;

namespace Ringfence.Cpu.X87;

/// <summary>
/// The handlers of x87 instructions: wait, fetch, call what <see cref="Op.Immediate"/> points to. <see cref="Op.Source"/> is the opcode (FOP),
/// <see cref="Op.Destination"/> where the selector of the memory operand's segment is.
/// </summary>
internal static unsafe class X87Handlers
{
    public const int ImageWide = 1;
    public const int ImageReal = 2;
    public const int ImageWaits = 4;
    public const ulong FlagQuiet = 1;
    public const ulong FlagPop = 2;

    private const ulong MonitorAndTaskSwitched = ControlBits.MonitorCoprocessor | ControlBits.TaskSwitched;

    public enum StoreForm : byte
    {
        Single,
        Double,
        Extended,
        Bcd,
        Integer16,
        Integer32,
        Integer64,
        Truncated16,
        Truncated32,
        Truncated64,
    }

    // ---- What ops point to -------------------------------------------------------------------------------------------------------

    public static void ToTop<TOperation>(X87State* f, int i)
        where TOperation : struct, IX87Operation => X87Unit.Arithmetic<TOperation>(f, 0, i);

    public static void FromTop<TOperation>(X87State* f, int i)
        where TOperation : struct, IX87Operation => X87Unit.Arithmetic<TOperation>(f, i, 0);

    public static void LoadInteger(X87State* f, int value) => X87Unit.LoadInteger(f, value);

    public static void LoadInteger64(X87State* f, ulong value) => X87Unit.LoadInteger(f, (long)value);

    public static void LoadConstant(X87State* f, int which) => X87Unit.LoadConstant(f, (X87Constant)which);

    public static void CopyTop(X87State* f, int i) => X87Unit.StoreRegister(f, i, false);

    public static void MoveTop(X87State* f, int i) => X87Unit.StoreRegister(f, i, true);

    public static void Compare(X87State* f, int i) => X87Unit.Compare(f, i, false, 0);

    public static void ComparePop(X87State* f, int i) => X87Unit.Compare(f, i, false, 1);

    public static void ComparePopPop(X87State* f) => X87Unit.Compare(f, 1, false, 2);

    public static void CompareQuiet(X87State* f, int i) => X87Unit.Compare(f, i, true, 0);

    public static void CompareQuietPop(X87State* f, int i) => X87Unit.Compare(f, i, true, 1);

    public static void CompareQuietPopPop(X87State* f) => X87Unit.Compare(f, 1, true, 2);

    public static void Compare32(X87State* f, uint value) => X87Unit.Compare32(f, value, false);

    public static void Compare32Pop(X87State* f, uint value) => X87Unit.Compare32(f, value, true);

    public static void Compare64(X87State* f, ulong value) => X87Unit.Compare64(f, value, false);

    public static void Compare64Pop(X87State* f, ulong value) => X87Unit.Compare64(f, value, true);

    public static void CompareInteger(X87State* f, int value) => X87Unit.CompareInteger(f, value, false);

    public static void CompareIntegerPop(X87State* f, int value) => X87Unit.CompareInteger(f, value, true);

    public static void RemainderTruncated(X87State* f) => X87Unit.Remainder(f, false);

    public static void RemainderNearest(X87State* f) => X87Unit.Remainder(f, true);

    public static void Free(X87State* f, int i) => X87Unit.Free(f, i, false);

    public static void FreePop(X87State* f, int i) => X87Unit.Free(f, i, true);

    public static void Nothing(X87State* f)
    {
    }

    // ---- Handlers ----------------------------------------------------------------------------------------------------------------

    /// <summary>False with #MF if an exception waits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool Ready(CpuState* s)
    {
        if (X87Unit.HasPendingException(&s->X87))
        {
            Exits.Record(s, Vectors.MathFault);
            return false;
        }
        return true;
    }

    /// <summary>Notes where the instruction is, once nothing can keep it from being executed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Note(CpuState* s, Op* o)
    {
        s->X87.InstructionPointer = s->Rip + o->IpOffset;
        s->X87.InstructionSelector = (ushort)s->Cs.Selector;
        s->X87.Opcode = o->Source;
    }

    /// <summary>The same with its operand in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void NoteOperand(CpuState* s, Op* o)
    {
        Note(s, o);
        s->X87.DataPointer = Plain.Linear(s, o) & o->AddressMask;
        s->X87.DataSelector = *(ushort*)((byte*)s + o->Destination);
    }

    public static Op* NotAvailable(CpuState* s, Op* o) => Exits.Fault(s, o, Vectors.DeviceNotAvailable);

    /// <summary>WAIT: #NM only if both CR0.MP and CR0.TS are set.</summary>
    public static Op* Wait(CpuState* s, Op* o)
    {
        if ((s->Cr0 & MonitorAndTaskSwitched) == MonitorAndTaskSwitched)
        {
            return Exits.Fault(s, o, Vectors.DeviceNotAvailable);
        }
        if (X87Unit.HasPendingException(&s->X87))
        {
            return Exits.Fault(s, o, Vectors.MathFault);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Simple(CpuState* s, Op* o)
    {
        if (!Ready(s))
        {
            return Exits.Abort(s, o);
        }
        Note(s, o);
        ((delegate*<X87State*, void>)o->Immediate)(&s->X87);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>Instructions that do not wait and leave the pointers alone.</summary>
    public static Op* Control(CpuState* s, Op* o)
    {
        ((delegate*<X87State*, void>)o->Immediate)(&s->X87);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Stack(CpuState* s, Op* o)
    {
        if (!Ready(s))
        {
            return Exits.Abort(s, o);
        }
        Note(s, o);
        ((delegate*<X87State*, int, void>)o->Immediate)(&s->X87, o->Extra);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Read32(CpuState* s, Op* o)
    {
        if (!Ready(s) || !GuestAccess.Read(s, Wide.Linear(s, o), out uint value))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        ((delegate*<X87State*, uint, void>)o->Immediate)(&s->X87, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Read64(CpuState* s, Op* o)
    {
        if (!Ready(s) || !GuestAccess.Read(s, Wide.Linear(s, o), out ulong value))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        ((delegate*<X87State*, ulong, void>)o->Immediate)(&s->X87, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Read80(CpuState* s, Op* o)
    {
        if (!Ready(s) || !GuestAccess.Read(s, Wide.Linear(s, o), out ulong low)
            || !GuestAccess.Read(s, (Wide.Linear(s, o) + 8) & s->LinearMask, out ushort high))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        ((delegate*<X87State*, ulong, ushort, void>)o->Immediate)(&s->X87, low, high);
        o++;
        return o->Handler(s, o);
    }

    public static Op* ReadInteger16(CpuState* s, Op* o)
    {
        if (!Ready(s) || !GuestAccess.Read(s, Wide.Linear(s, o), out short value))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        ((delegate*<X87State*, int, void>)o->Immediate)(&s->X87, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* ReadInteger32(CpuState* s, Op* o)
    {
        if (!Ready(s) || !GuestAccess.Read(s, Wide.Linear(s, o), out int value))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        ((delegate*<X87State*, int, void>)o->Immediate)(&s->X87, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* Store(CpuState* s, Op* o)
    {
        if (!Ready(s) || !StoreTop(s, o))
        {
            return Exits.Abort(s, o);
        }
        NoteOperand(s, o);
        o++;
        return o->Handler(s, o);
    }

    /// <summary>False: a fault is recorded. An unmasked exception leaves memory and stack alone, and that is all.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool StoreTop(CpuState* s, Op* o)
    {
        X87State* f = &s->X87;
        ulong linear = Wide.Linear(s, o);
        StoreForm form = (StoreForm)o->Extra;
        ushort before = f->StatusWord;
        bool stored, written = true;
        switch (form)
        {
            case StoreForm.Single:
                stored = X87Unit.Store32(f, out uint single);
                written = !stored || GuestAccess.Write(s, linear, single);
                break;
            case StoreForm.Double:
                stored = X87Unit.Store64(f, out ulong pattern);
                written = !stored || GuestAccess.Write(s, linear, pattern);
                break;
            case StoreForm.Extended:
                stored = X87Unit.Store80(f, out Float80 extended);
                written = !stored || Write80(s, linear, extended.Significand, extended.SignExponent);
                break;
            case StoreForm.Bcd:
                stored = X87Unit.StoreBcd(f, out ulong low, out ushort high);
                written = !stored || Write80(s, linear, low, high);
                break;
            default:
                int size = form switch
                {
                    StoreForm.Integer16 or StoreForm.Truncated16 => 16,
                    StoreForm.Integer32 or StoreForm.Truncated32 => 32,
                    _ => 64,
                };
                stored = X87Unit.StoreInteger(f, size, form >= StoreForm.Truncated16, out long value);
                written = !stored || (size == 16 ? GuestAccess.Write(s, linear, (short)value)
                    : size == 32 ? GuestAccess.Write(s, linear, (int)value) : GuestAccess.Write(s, linear, value));
                break;
        }
        if (!written)
        {
            f->StatusWord = before;
        }
        else if (stored && o->Immediate != 0)
        {
            X87Unit.Pop(f);
        }
        return written;
    }

    /// <summary>All ten bytes or none; the fault is that of the first byte that cannot be written.</summary>
    private static bool Write80(CpuState* s, ulong linear, ulong low, ushort high)
    {
        ulong upper = (linear + 8) & s->LinearMask;
        if ((linear & (GuestAccess.PageBytes - 1)) > GuestAccess.PageBytes - 10
            && (!GuestAccess.ReadForWrite(s, linear, out ulong _) || !GuestAccess.ReadForWrite(s, upper, out ushort _)))
        {
            return false;
        }
        return GuestAccess.Write(s, linear, low) && GuestAccess.Write(s, upper, high);
    }

    public static Op* ConditionalMove(CpuState* s, Op* o)
    {
        if (!Ready(s))
        {
            return Exits.Abort(s, o);
        }
        Note(s, o);
        bool holds = (o->Immediate & 3) switch
        {
            0 => Flags.IsCarry(s),
            1 => Flags.IsZero(s),
            2 => Flags.IsCarry(s) || Flags.IsZero(s),
            _ => Flags.IsParity(s),
        };
        X87Unit.ConditionalMove(&s->X87, o->Extra, holds == (o->Immediate < 4));
        o++;
        return o->Handler(s, o);
    }

    public static Op* CompareFlags(CpuState* s, Op* o)
    {
        if (!Ready(s))
        {
            return Exits.Abort(s, o);
        }
        Note(s, o);
        ulong flags = X87Unit.CompareFlags(
            &s->X87, o->Extra, (o->Immediate & FlagQuiet) != 0, (o->Immediate & FlagPop) != 0, Flags.GetArithmetic(s));
        Flags.SetArithmetic(s, (uint)flags);
        o++;
        return o->Handler(s, o);
    }

    public static Op* StatusToAx(CpuState* s, Op* o)
    {
        *(ushort*)s->Gpr = s->X87.StatusWord;
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreStatus(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), s->X87.StatusWord))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreControl(CpuState* s, Op* o)
    {
        if (!GuestAccess.Write(s, Wide.Linear(s, o), s->X87.ControlWord))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* LoadControl(CpuState* s, Op* o)
    {
        if (X87Unit.HasPendingException(&s->X87))
        {
            return Exits.Fault(s, o, Vectors.MathFault);
        }
        if (!GuestAccess.Read(s, Wide.Linear(s, o), out ushort value))
        {
            return Exits.Abort(s, o);
        }
        X87Unit.LoadControlWord(&s->X87, value);
        o++;
        return o->Handler(s, o);
    }

    public static Op* StoreEnvironment(CpuState* s, Op* o)
    {
        if (!StoreImage(s, o, false))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Save(CpuState* s, Op* o)
    {
        if (!StoreImage(s, o, true))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* LoadEnvironment(CpuState* s, Op* o)
    {
        if (!LoadImage(s, o, false))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    public static Op* Restore(CpuState* s, Op* o)
    {
        if (!LoadImage(s, o, true))
        {
            return Exits.Abort(s, o);
        }
        o++;
        return o->Handler(s, o);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool StoreImage(CpuState* s, Op* o, bool registers)
    {
        bool wide = (o->Extra & ImageWide) != 0, real = (o->Extra & ImageReal) != 0;
        int size = registers ? X87Image.SaveSize(wide) : X87Image.EnvironmentSize(wide);
        byte* image = stackalloc byte[108];
        X87State after = s->X87;
        if (registers)
        {
            X87Unit.Save(&after, new Span<byte>(image, size), wide, real);
        }
        else
        {
            X87Unit.StoreEnvironment(&after, new Span<byte>(image, size), wide, real);
        }
        ulong linear = Wide.Linear(s, o);
        for (int at = 0; at < size; at += 2)
        {
            if (!GuestAccess.Write(s, (linear + (ulong)at) & s->LinearMask, *(ushort*)(image + at)))
            {
                return false;
            }
        }
        s->X87 = after;
        return true;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static bool LoadImage(CpuState* s, Op* o, bool registers)
    {
        if ((o->Extra & ImageWaits) != 0 && X87Unit.HasPendingException(&s->X87))
        {
            Exits.Record(s, Vectors.MathFault);
            return false;
        }
        bool wide = (o->Extra & ImageWide) != 0, real = (o->Extra & ImageReal) != 0;
        int size = registers ? X87Image.SaveSize(wide) : X87Image.EnvironmentSize(wide);
        byte* image = stackalloc byte[108];
        ulong linear = Wide.Linear(s, o);
        for (int at = 0; at < size; at += 2)
        {
            if (!GuestAccess.Read(s, (linear + (ulong)at) & s->LinearMask, out ushort word))
            {
                return false;
            }
            *(ushort*)(image + at) = word;
        }
        if (registers)
        {
            X87Unit.Restore(&s->X87, new ReadOnlySpan<byte>(image, size), wide, real);
        }
        else
        {
            X87Unit.LoadEnvironment(&s->X87, new ReadOnlySpan<byte>(image, size), wide, real);
        }
        return true;
    }
}
