namespace Ringfence.Devices.Timers;

/// <summary>How an MC146818 writes time into its registers: decimal or binary, 24 or 12 hours, as register B says.</summary>
internal readonly struct RtcFormat(byte registerB)
{
    private const byte Pm = 0x80;

    private bool Binary => (registerB & 0x04) != 0;

    private bool Hours24 => (registerB & 0x02) != 0;

    public byte Encode(int value) => (byte)(Binary ? value : ((value / 10) << 4) | (value % 10));

    public int Decode(byte value) => Binary ? value : ((value >> 4) * 10) + (value & 0xF);

    public byte EncodeHour(int hour)
    {
        if (Hours24)
        {
            return Encode(hour);
        }
        int twelve = hour % 12 == 0 ? 12 : hour % 12;
        return (byte)(Encode(twelve) | (hour >= 12 ? Pm : 0));
    }

    public int DecodeHour(byte value)
    {
        if (Hours24)
        {
            return Decode(value);
        }
        int hour = Decode((byte)(value & ~Pm)) % 12;
        return (value & Pm) != 0 ? hour + 12 : hour;
    }

    /// <summary>Writes the time into registers 0, 2, 4, 6 to 9 and 0x32.</summary>
    public void Store(DateTime time, Span<byte> registers)
    {
        registers[0] = Encode(time.Second);
        registers[2] = Encode(time.Minute);
        registers[4] = EncodeHour(time.Hour);
        registers[6] = Encode((int)time.DayOfWeek + 1);
        registers[7] = Encode(time.Day);
        registers[8] = Encode(time.Month);
        registers[9] = Encode(time.Year % 100);
        registers[Rtc.Century] = Encode(time.Year / 100);
    }

    /// <summary>The time in the registers, whole seconds; what is out of range is taken as the nearest time that is not.</summary>
    public DateTime Load(ReadOnlySpan<byte> registers)
    {
        int year = Math.Clamp((Decode(registers[Rtc.Century]) * 100) + Decode(registers[9]), 1, 9998);
        int month = Math.Clamp(Decode(registers[8]), 1, 12);
        int day = Math.Clamp(Decode(registers[7]), 1, DateTime.DaysInMonth(year, month));
        int hour = Math.Clamp(DecodeHour(registers[4]), 0, 23);
        int minute = Math.Clamp(Decode(registers[2]), 0, 59);
        int second = Math.Clamp(Decode(registers[0]), 0, 59);
        return new DateTime(year, month, day, hour, minute, second, DateTimeKind.Utc);
    }
}
