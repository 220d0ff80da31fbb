<?php

declare(strict_types=1);

namespace App\Message;

/** Has no failure transport. */
final class Chore extends Work
{
}
